"""What a request sends by codec and defense, and how many requests a second fit through known networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from cutlayer.network.profiles import NETWORKS
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, small, table
from cutlayer.report.kit.wording import DASH, rate, size
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Setting

FLOAT_BYTES = 4
RATES = {name: network.up_bps for name, network in NETWORKS.items() if math.isfinite(network.up_bps)}
"""Bits per second from the device, by the name of the network."""


@dataclass(frozen=True)
class Sent:
    """Settings of one codec whose requests have the same size within 1 %.

    Attributes:
        codec: Name of the codec; empty where the records do not say.
        uncoded_bytes: Size of the smashed data as float32; None where inputs differ in length, for what was timed then
            is the median, whose length no record states.
        tensor_bytes: Size of the tensor as the codec packed it.
        message_bytes: Size of the message.
        sent_bytes: Bytes of a request on the socket.
    """

    codec: str
    settings: tuple[Setting, ...]
    uncoded_bytes: int | None
    tensor_bytes: int | None
    message_bytes: int | None
    sent_bytes: int

    def per_s(self, bps: float) -> float:
        """Requests that a rate takes in a second."""
        return bps / (8 * self.sent_bytes)


def bandwidth(groups: Sequence[Group]) -> Html | None:
    """The table of groups that differ in their codec alone; None where no size is known."""
    rows = sorted((entry for group in groups for entry in sent(group)), key=lambda entry: entry.sent_bytes)
    if not rows:
        return None
    head = ["Codec", "Defense", "Tensor", "Of float32", "Message", "On the socket"]
    headings = [el("th", name, small(rate(bps)), scope="col") for name, bps in RATES.items()]
    named = " over " + groups[0].deployments[0] if groups[0].deployments else ""
    explained = (
        f"Bytes of one request{named}, and the requests per second that the rate of each network takes. It is the "
        "rate alone: round trips, the time of the device and of the server, and what TCP and IP add are not in it. "
        "Settings whose requests have the same size share a row."
    )
    body = el("tbody", [_row(entry) for entry in rows])
    title = "Bytes of a request, and requests per second"
    return section("What a request sends", note(explained), table(title, [*head, *headings], [body], "numbers"))


def sent(group: Group) -> list[Sent]:
    """One entry for each size, the smallest first."""
    entries = list[Sent]()
    for setting in sorted(group.settings, key=lambda setting: setting.sent_bytes() or 0):
        cost, count = next(iter(setting.costs()), None), setting.sent_bytes()
        if cost is None or not count:
            continue
        last = entries[-1] if entries else None
        if last and count <= last.sent_bytes * 1.01 and last.tensor_bytes == cost.tensor_bytes:
            settings = (*last.settings, setting)
            entries[-1] = Sent(last.codec, settings, *_sizes(last))
        else:
            uncoded = None if group.in_tokens else FLOAT_BYTES * prod(setting.first.smashed)
            entries.append(Sent(setting.first.codec, (setting,), uncoded, cost.tensor_bytes, cost.message_bytes, count))
    return entries


def per_second(value: float) -> str:
    """A number of requests per second, three figures."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def _sizes(entry: Sent) -> tuple[int | None, int | None, int | None, int]:
    return entry.uncoded_bytes, entry.tensor_bytes, entry.message_bytes, entry.sent_bytes


def _row(entry: Sent) -> Html:
    names = [el("div", dot(setting.color), setting.label) for setting in entry.settings[:4]]
    more = len(entry.settings) - len(names)
    packed, whole = entry.tensor_bytes, entry.uncoded_bytes
    share = DASH if packed is None or whole is None else f"{packed / whole:.0%}"
    cells: list[object] = [
        el("td", names, small(f"and {more} more") if more > 0 else None),
        size(entry.tensor_bytes), share, size(entry.message_bytes), size(entry.sent_bytes),
        *(per_second(entry.per_s(bps)) for bps in RATES.values()),
    ]  # fmt: skip
    return row(el("th", entry.codec or "not recorded", scope="row"), cells)
