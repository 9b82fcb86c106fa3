"""What to measure through each emulated network: what is likely best, and something to check the cost model by.

First the two cuts that are likely best and one other. Then, turn by turn, whatever is the fastest by all that is known
by now and was only computed: so what is recommended was measured, as long as there is time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cutlayer.trace import Columns, percentile

Key = tuple[str, str]
"""Cut and codec."""

NETWORK_S = 14.0
"""Of measurement through each network."""

POINTS, TURNS = 3, 3
"""Points of the first turn, and turns; the others have one point each."""

LEAST_REQUESTS, MOST_REQUESTS, WARMUP = 3, 30, 1
"""Requests of each point, and the very first one, which does not count."""


def choose(
    predicted: Mapping[Key, Mapping[str, float]],
    measured: Mapping[Key, Columns],
    spent_s: float,
    kept: Callable[[Key], bool],
    seed: Sequence[int],
) -> list[tuple[Key, int, float]]:
    """Points to measure through one network, with their requests and the seconds that one is expected to take.

    A point whose requests would take too long is left to the model: on a slow enough network all may be.

    Args:
        predicted: Stages and ``end_to_end`` in ns of every choice.
        measured: Of those that were measured already; none in the first turn.
        spent_s: On them.
        kept: Whether a choice may be recommended.
        seed: Of the point to check the model by.
    """
    times = {key: stages["end_to_end"] / 1e9 for key, stages in predicted.items()}
    known = times | {key: p50(timed) / 1e9 for key, timed in measured.items()}
    ranked = sorted(filter(kept, known), key=known.__getitem__)
    if measured:
        wanted = [key for key in ranked[:1] if key not in measured]
    else:
        fastest = [key for place, key in enumerate(ranked) if key[0] not in {cut for cut, _ in ranked[:place]}]
        wanted = fastest[: POINTS - 1]
        # If nothing may be recommended, the model is checked all the same.
        rest = [key for key in sorted(times, key=times.__getitem__) if key not in wanted]
        np.random.default_rng(seed).shuffle(rest)
        wanted += rest
    left_s = NETWORK_S - spent_s
    chosen: list[tuple[Key, int, float]] = []
    for key in wanted:
        one_s = times[key]
        samples = max(LEAST_REQUESTS, min(MOST_REQUESTS, int(NETWORK_S / POINTS / one_s) - WARMUP))
        if len(chosen) < POINTS and (samples + WARMUP) * one_s <= left_s:
            chosen.append((key, samples, one_s))
            left_s -= (samples + WARMUP) * one_s
    return chosen


def p50(timed: Columns) -> float:
    """End to end, in ns: the figure that is printed."""
    middle = percentile(timed["end_to_end_ns"], 50)
    assert middle is not None
    return float(middle)


def spent(timed: Columns) -> float:
    """Seconds that a point took, its first request left out."""
    return float(timed["end_to_end_ns"].sum()) / 1e9
