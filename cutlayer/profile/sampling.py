"""What to measure through each emulated network: what is likely best, and something to check the cost model by.

The first turn takes the two cuts that are likely best and one other. Each further turn takes the choice that is the
fastest by all that is known by then, if it was only computed: so what is recommended was measured, as long as there is
time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cutlayer.percentiles import percentile
from cutlayer.trace import Columns

Key = tuple[str, str]
"""Names of a cut and a codec: a choice."""

NETWORK_S = 14.0
"""Time of the measurements through each network."""

POINTS, TURNS = 3, 3
"""Number of points of the first turn, and number of turns; each further turn has one point."""

LEAST_REQUESTS, MOST_REQUESTS, WARMUP = 3, 30, 1
"""Number of requests of each point, and of those before them that do not count."""


def choose_points(
    predicted: Mapping[Key, Mapping[str, float]],
    measured: Mapping[Key, Columns],
    may_recommend: Callable[[Key], bool],
    seed: Sequence[int],
) -> list[tuple[Key, int, float]]:
    """Points to measure through one network, each with its number of requests and the expected seconds of one.

    A point whose requests would take too long is left to the model: on a slow enough network all may be.

    Args:
        predicted: Stages and ``end_to_end`` in ns of every choice.
        measured: Requests of the choices that were measured already; none in the first turn.
        may_recommend: Whether a choice may be recommended.
        seed: Seed of the draw of the point that checks the model.
    """
    times_s = {key: stages["end_to_end"] / 1e9 for key, stages in predicted.items()}
    known_s = times_s | {key: p50(columns) / 1e9 for key, columns in measured.items()}
    ranked = sorted(filter(may_recommend, known_s), key=known_s.__getitem__)
    if measured:
        wanted = [key for key in ranked[:1] if key not in measured]
    else:
        fastest = [key for place, key in enumerate(ranked) if key[0] not in {cut for cut, _ in ranked[:place]}]
        wanted = fastest[: POINTS - 1]
        # If nothing may be recommended, the model is checked all the same.
        rest = [key for key in sorted(times_s, key=times_s.__getitem__) if key not in wanted]
        np.random.default_rng(seed).shuffle(rest)
        wanted += rest
    left_s = NETWORK_S - sum(float(columns["end_to_end_ns"].sum()) for columns in measured.values()) / 1e9
    chosen: list[tuple[Key, int, float]] = []
    for key in wanted:
        expected_s = times_s[key]
        samples = max(LEAST_REQUESTS, min(MOST_REQUESTS, int(NETWORK_S / POINTS / expected_s) - WARMUP))
        if len(chosen) < POINTS and (samples + WARMUP) * expected_s <= left_s:
            chosen.append((key, samples, expected_s))
            left_s -= (samples + WARMUP) * expected_s
    return chosen


def p50(columns: Columns) -> float:
    """End-to-end p50 in ns: the figure that is printed."""
    median = percentile(columns["end_to_end_ns"], 50)
    assert median is not None
    return float(median)
