"""A decision tree that is grown so that it looks at sensitive columns as little as its accuracy allows.

A. Goldsteen, G. Ezov, A. Farkash, "Reducing Risk of Model Inversion Using Privacy-Guided Training", 2020,
https://arxiv.org/abs/2006.15877: "countering model inversion attacks in tree-based models, by reducing the influence of
sensitive features in these models". Here the gain of a split on a sensitive column counts ``1 - guard`` of itself; with
a guard of 1 the tree never looks at one.

Threat model: whoever may ask the model, and knows all of a person's row but one sensitive answer, tries which answer
explains what the model said (see `cutlayer.attacks.answers.attributes`). A tree that asks for the column less often
tells less; columns that go along with it stay, and what they tell is the floor of that attack.

Differs from the paper, of which the abstract was at hand: the factor ``1 - guard`` is this project's reading; trees
split by the Gini impurity at up to 63 thresholds a column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.options import Count, Share, Within

_THRESHOLDS = 63


class _Split(NamedTuple):
    column: int
    code: int


@dataclass(kw_only=True)
class GuidedTree:
    """A binary decision tree; fields are its options, and `fit` grows it.

    Args:
        sensitive: Columns that it should look at little.
        guard: Part of a split's gain that a sensitive column loses.
        depth: The most splits on the way to an answer.
        least: The fewest samples behind an answer.
    """

    sensitive: tuple[int, ...] = ()
    guard: Share = 0.0
    depth: Annotated[int, Within(0, 64)] = 8
    least: Count = 20
    _thresholds: list[NDArray[np.float32]] = field(init=False, repr=False, compare=False, default_factory=list)
    _splits: dict[int, _Split] = field(init=False, repr=False, compare=False, default_factory=dict)
    _shares: dict[int, NDArray[np.float64]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def fit(self, inputs: NDArray[np.float32], labels: NDArray[np.int64]) -> GuidedTree:
        """Grow the tree on rows ``(N, D)`` of classes ``(N,)``, and return it."""
        self._thresholds = [_thresholds(column) for column in inputs.T]
        codes, classes = self._codes(inputs), int(labels.max()) + 1
        weights = np.ones(inputs.shape[1])
        weights[list(self.sensitive)] = 1 - self.guard
        self._splits, self._shares = {}, {}
        # Nodes are numbered as in a heap: the halves of node k are 2 k and 2 k + 1.
        waiting = [(1, np.arange(len(labels)))]
        while waiting:
            node, rows = waiting.pop()
            self._shares[node] = np.bincount(labels[rows], minlength=classes) / len(rows)
            split = None
            if node.bit_length() <= self.depth:
                split = self._best(codes[rows], labels[rows], classes, weights)
            if split is not None:
                self._splits[node] = split
                right = codes[rows, split.column] > split.code
                waiting += [(2 * node, rows[~right]), (2 * node + 1, rows[right])]
        return self

    def answers(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """The share of each class behind the answer for each row, ``(N, D)`` -> ``(N, classes)``."""
        codes, nodes = self._codes(inputs), np.ones(len(inputs), np.int64)
        for node in sorted(self._splits):
            here, split = nodes == node, self._splits[node]
            nodes[here] = 2 * node + (codes[here, split.column] > split.code)
        return np.stack([self._shares[int(node)] for node in nodes])

    def columns(self) -> set[int]:
        """The columns that the tree looks at."""
        return {split.column for split in self._splits.values()}

    def _codes(self, inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        pairs = zip(self._thresholds, inputs.T, strict=True)
        return np.stack([np.searchsorted(edges, column) for edges, column in pairs], axis=1)

    def _best(
        self, codes: NDArray[np.int64], labels: NDArray[np.int64], classes: int, weights: NDArray[np.float64]
    ) -> _Split | None:
        """The split with the greatest weighted gain; None where none gains anything."""
        n, columns = codes.shape
        bins = _THRESHOLDS + 1
        places = (np.arange(columns) * bins + codes) * classes + labels[:, None]
        counts = np.bincount(places.ravel(), minlength=columns * bins * classes).reshape(columns, bins, classes)
        left = counts.cumsum(1)[:, :-1]
        right = counts.sum(1, keepdims=True) - left
        sizes = left.sum(2), right.sum(2)
        with np.errstate(invalid="ignore", divide="ignore"):
            purity = (left**2).sum(2) / sizes[0] + (right**2).sum(2) / sizes[1]
        gain = (purity - (counts[0].sum(0) ** 2).sum() / n) * weights[:, None]
        gain[(sizes[0] < self.least) | (sizes[1] < self.least)] = 0
        column, code = np.unravel_index(gain.argmax(), gain.shape)
        return _Split(int(column), int(code)) if gain[column, code] > 1e-9 else None


def _thresholds(column: NDArray[np.float32]) -> NDArray[np.float32]:
    """The middles between neighbouring values, or as many quantiles of them as are compared."""
    values = np.unique(column)
    middles = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    if len(middles) <= _THRESHOLDS:
        return middles
    quantiles = np.quantile(column, np.linspace(0, 1, _THRESHOLDS + 2)[1:-1], method="nearest")
    some: NDArray[np.float32] = np.unique(middles[np.searchsorted(middles, quantiles).clip(max=len(middles) - 1)])
    return some
