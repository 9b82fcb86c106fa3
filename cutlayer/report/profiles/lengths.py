"""What sentences of several lengths cost at each cut, as a table for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Callable

from cutlayer.records.profile import Profile

HOW = (
    "Sentences of each length, in one round after the others: the head alone, the bytes of the whole message, and the "
    "end-to-end p50 of the fastest codec; on this machine it is measured, over a network it is computed."
)


def names(profile: Profile) -> list[str]:
    """The columns behind the cut."""
    return [
        "tokens", "smashed B", "head p50", *(f"{codec} B" for codec in profile.codecs), "this machine",
        *profile.networks,
    ]  # fmt: skip


def rows(profile: Profile, time: Callable[[float], str]) -> list[tuple[str, list[str]]]:
    """Return the values of these columns for each cut and length; empty where no lengths were asked for.

    Args:
        profile: The profile.
        time: How a time in ns is written.
    """
    return [
        (
            cut.cut,
            [
                f"{one.tokens:,}", f"{one.bytes:,}", time(one.head_ns),
                *(f"{one.message_bytes[codec]:,}" for codec in profile.codecs), time(min(one.end_to_end_ns.values())),
                *(time(min(one.networks_ns[network].values())) for network in profile.networks),
            ],
        )
        for cut in profile.cuts
        for one in cut.lengths
    ]  # fmt: skip
