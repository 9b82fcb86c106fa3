"""What may be said of a difference: more, less, or that the two are not told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cutlayer.records.run import Estimate
from cutlayer.report.kit.wording import DASH, points

UNKNOWN = Estimate(math.nan, 0, math.nan, math.nan)


def less(first: Estimate, second: Estimate) -> Estimate:
    """The first less the second, between the ends that the two intervals allow.

    The interval excludes 0 exactly where the two intervals do not overlap, so that a reader of a table comes to the
    same verdict.
    """
    n = min(first.n, second.n)
    return Estimate(first.value - second.value, n, first.low - second.high, first.high - second.low)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over seeds; its interval reaches from the lowest end to the highest end of all intervals.

    So it excludes a value exactly where the interval of each seed excludes it, on the same side.
    """
    infinite = sum(e.infinite for e in estimates)
    # A seed whose scores are all infinite has no mean.
    estimates = [e for e in estimates if e.n or not e.infinite]
    if not estimates:
        return replace(UNKNOWN, infinite=infinite)
    value, n = sum(e.value for e in estimates) / len(estimates), sum(e.n for e in estimates)
    if any(math.isnan(e.low) or math.isnan(e.high) for e in estimates):
        return Estimate(value, n, math.nan, math.nan, infinite=infinite)
    low, high = min(e.low for e in estimates), max(e.high for e in estimates)
    return Estimate(value, n, low, high, infinite=infinite)


def sign(change: Estimate) -> int:
    """1 for more, -1 for less, 0 where the interval holds both, or where there is none."""
    return 1 if change.low > 0 else -1 if change.high < 0 else 0


def interval_of_points(change: Estimate) -> str:
    """The 95 % interval of a change of a share, in points; empty where there is none."""
    return "" if math.isnan(change.low) else f"{points(change.low)} to {points(change.high)}"


def against(change: Estimate, other: str) -> str:
    """A change of a share in words: "less than without a defense (-3.0 points, ...)", or "not told apart from ..."."""
    measured = f"{points(change.value)} points" if not math.isnan(change.value) else DASH
    interval = f", 95 % interval {text}" if (text := interval_of_points(change)) else ""
    if found := sign(change):
        return f"{'more' if found > 0 else 'less'} than {other} ({measured}{interval})"
    return f"not told apart from that {other} ({measured}{interval})"
