"""Which cheap number predicts leakage? The rank correlation of each with what the worst attack found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cutlayer.records.run import CeilingAt, Predictors, Result
from cutlayer.report.kit.markup import Html, el, note, row, section, small, table
from cutlayer.report.kit.wording import DASH, MINUS

LEAST = 4
"""Runs below which a correlation of ranks says nothing."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Correlation:
    """How far the order of runs by a number is their order by leakage.

    Attributes:
        n: Number of runs.
        spearman: Spearman's correlation of ranks, 1 where the orders are the same.
        low: Lower end of its 95 % interval, a bootstrap over the runs.
        high: Upper end.
        kendall: Kendall's tau-b, the share of pairs in the same order less that of pairs in the opposite one.
    """

    n: int
    spearman: float
    low: float
    high: float
    kendall: float


def _bound(read: Callable[[CeilingAt], float]) -> Callable[[Result], float | None]:
    """A figure of the ceiling for one release; 1 where there is no noise."""

    def value(result: Result) -> float | None:
        if result.ceiling is None or result.ceiling.none == "density unknown":
            return None
        first = result.ceiling.over(1)
        return read(first) if first else 1.0 if result.ceiling.none else None

    return value


def _of(read: Callable[[Predictors], float], without_noise: float) -> Callable[[Result], float | None]:
    """A predictor, and its value where there is no noise."""

    def value(result: Result) -> float | None:
        if result.predictors:
            return read(result.predictors)
        return without_noise if result.ceiling and result.ceiling.none == "deterministic" else None

    return value


NUMBERS: dict[str, Callable[[Result], float | None]] = {
    "ceiling of the leakage gain, one release": _bound(lambda at: at.leakage_gain.value),
    "ceiling of identification, one release": _bound(lambda at: at.identified.value),
    "Fisher information for each number of an input (dFIL)": _of(lambda p: p.dfil, math.inf),
    "leakage gain that van Trees allows": _of(lambda p: p.van_trees, 1.0),
    "mutual information, if all were normal": _of(lambda p: p.nats, math.inf),
    "leakage gain that conditional entropy allows": _of(lambda p: p.conditional_entropy, 1.0),
    "directions that the head passes on": lambda r: r.spectrum.head.passed if r.spectrum else None,
    "how faint the faintest one is (less leaks)": lambda r: -r.spectrum.head.condition if r.spectrum else None,
    "size of the strongest direction": lambda r: r.spectrum.head.largest if r.spectrum else None,
}
"""The numbers, each the greater the more leaks if it predicts well; None where a run does not have it."""


def correlations(results: Sequence[Result], reached: Callable[[Result], float | None]) -> dict[str, Correlation]:
    """The correlation of each number with what was reached, over the runs that have both; at least `LEAST` of them.

    A number that is the same in all runs orders nothing, and is left out.
    """
    import numpy as np
    from scipy.stats import kendalltau, rankdata

    def spearman(x: Any, y: Any) -> Any:
        """Along the last axis; 0 where one of the two has a single value."""
        a, b = (ranks - ranks.mean(-1, keepdims=True) for ranks in (rankdata(x, axis=-1), rankdata(y, axis=-1)))
        lengths = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
        return np.divide((a * b).sum(-1), lengths, out=np.zeros_like(lengths), where=lengths > 0)

    found, rng = dict[str, Correlation](), np.random.default_rng(0)
    for name, number in NUMBERS.items():
        pairs = [(number(result), reached(result)) for result in results]
        known = np.array([(x, y) for x, y in pairs if x is not None and y is not None and not math.isnan(x + y)])
        if len(known) < LEAST or min(len(set(column)) for column in known.T.tolist()) < 2:
            continue
        x, y = known.T
        again = rng.integers(len(known), size=(RESAMPLES, len(known)))
        low, high = np.quantile(spearman(x[again], y[again]), [0.025, 0.975])
        value, tau = float(spearman(x[None], y[None])[0]), float(kendalltau(x, y).statistic)
        found[name] = Correlation(len(known), value, float(low), float(high), tau)
    return found


def leaked(result: Result) -> float | None:
    """The leakage gain of the worst attack that observed one release."""
    return max((row.leakage_gain.value for row in result.privacy if row.n_releases == 1), default=None)


def identified(result: Result) -> float | None:
    """The share that the best attack identifies from one release."""
    return max((found.top_1.value for found in result.identification if found.n_releases == 1), default=None)


def predictors(results: Sequence[Result]) -> Html | None:
    """Which cheap number predicts leakage; None where there are too few runs."""
    leakage, identification = correlations(results, leaked), correlations(results, identified)
    if not leakage:
        return None
    ranked = sorted(leakage.items(), key=lambda item: -item[1].spearman)
    text = (
        "Each number takes seconds, and no attack. The runs are put in order by it, and by what the worst attack on "
        "one release reached: 1 is the same order, 0 none, -1 the opposite one. In small print the 95 % "
        "interval over runs; runs with one model are no independent samples of all models. A defense without noise "
        "has the greatest value of the first six, and one whose density is not known has none."
    )
    head = ["Number", "Runs", "Leakage gain, Spearman", "Kendall", "Identified, Spearman", "Kendall"]
    body = [row(name, [c.n, *_cells(c), *_cells(identification.get(name))]) for name, c in ranked]
    title = "Which cheap number predicts leakage?"
    return section(title, note(text), table(title, head, [el("tbody", body)], "numbers"))


def _cells(found: Correlation | None) -> list[object]:
    """Spearman's with its interval, and Kendall's."""
    if found is None:
        return [DASH, DASH]
    return [
        el("td", _signed(found.spearman), small(f"{_signed(found.low)} to {_signed(found.high)}")),
        _signed(found.kendall),
    ]


def _signed(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.2f}".replace("-", MINUS)
