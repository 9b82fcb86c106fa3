"""Rows that are drawn from what was learned of a table, and given away in place of it.

`statistics` keeps, for each class, how often each value of each column occurs, with Laplace noise on each count if a
privacy budget is stated: the release is then ``epsilon``-differentially private for one row (Dwork et al., TCC 2006). A
column of words, which is one 0 or 1 for each word, is one column of values. Rows are drawn column by column,
independent but for their class.

`synthesized` draws each column from a decision tree on those before it, as B. Nowok, G. Raab, C. Dibben, "synthpop",
J. Stat. Softw. 2016, does, and M. Slokom, P.-P. de Wolf, M. Larson, "Exploring Privacy-Preserving Techniques on
Synthetic Data as a Defense Against Model Inversion Attacks", ISC 2023, before it perturbs the sensitive column; so does
this one, which gives it another row's value with probability `swapped`.

Threat model: whoever may ask a model that was trained on the rows, and knows all of a person's row but one sensitive
answer (see `cutlayer.attacks.answers.attributes`). The rows are of nobody; what they keep of how columns go together
is what a model can learn from them, and what an attacker can.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Rows ``(N, D)`` and their classes ``(N,)``."""

_BINS = 32


def statistics(
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    columns: Sequence[slice],
    n: int,
    rng: np.random.Generator,
    epsilon: float = 0.0,
) -> Rows:
    """Draw rows from the counts of each value in each class.

    Args:
        inputs: ``(N, D)`` in [0, 1].
        labels: ``(N,)``: the classes.
        columns: One slice for each column, of several numbers for one of words.
        n: Number of rows that are drawn.
        rng: Source of every draw.
        epsilon: Privacy budget of the whole release for adding or removing a row; 0 adds no noise. With it, numbers are
            counted in 32 bins of [0, 1] and drawn evenly within one, since their values are no public knowledge.

    Raises:
        ConfigError: The budget is negative.
    """
    if epsilon < 0:
        raise ConfigError(f"epsilon is the privacy budget of a release, above 0, or 0 for no noise; got {epsilon}.")
    classes = int(labels.max()) + 1
    # A row is in one bin of each column and in one class: so many counts change by 1 with it.
    scale = (len(columns) + 1) / epsilon if epsilon else 0.0

    def noisy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        noise = rng.laplace(scale=scale, size=counts.shape) if scale else 0.0
        positive = np.maximum(counts + noise, 0)
        return positive / positive.sum() if positive.sum() else np.full(len(counts), 1 / len(counts))

    drawn = rng.choice(classes, n, p=noisy(np.bincount(labels, minlength=classes))).astype(np.int64)
    made = np.zeros((n, inputs.shape[1]), np.float32)
    for part in columns:
        values, codes, width = _values(inputs[:, part], fixed=bool(epsilon))
        for c in range(classes):
            here = np.flatnonzero(drawn == c)
            shares = noisy(np.bincount(codes[labels == c], minlength=len(values)))
            chosen = rng.choice(len(values), len(here), p=shares)
            made[here, part] = values[chosen] + width * rng.random((len(here), 1), np.float32)
    return made, drawn


def synthesized(
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    columns: Sequence[slice],
    n: int,
    rng: np.random.Generator,
    sensitive: slice | None = None,
    swapped: float = 0.0,
) -> Rows:
    """Draw rows column by column, each from the leaves of a tree on the class and the columns before it.

    Args:
        inputs: ``(N, D)``.
        labels: ``(N,)``: the classes.
        columns: One slice for each column, of several numbers for one of words.
        n: Number of rows that are drawn.
        rng: Source of every draw.
        sensitive: A column that is perturbed.
        swapped: The chance that its value is taken from another row that was drawn.
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    drawn = labels[rng.integers(len(labels), size=n)]
    before, made = labels[:, None].astype(np.float32), drawn[:, None].astype(np.float32)
    out = np.zeros((n, inputs.shape[1]), np.float32)
    for part in columns:
        block = inputs[:, part]
        kind = DecisionTreeClassifier if block.shape[1] > 1 else DecisionTreeRegressor
        goal = block.argmax(1) if block.shape[1] > 1 else block[:, 0]
        tree = kind(min_samples_leaf=20, max_depth=10, random_state=int(rng.integers(2**31))).fit(before, goal)
        leaves, wanted = tree.apply(before), tree.apply(made)
        order = np.argsort(leaves, kind="stable")
        first, last = (np.searchsorted(leaves[order], wanted, side=side) for side in ("left", "right"))
        new = block[order[rng.integers(first, last)]]
        out[:, part] = new
        before, made = np.concatenate([before, block], 1), np.concatenate([made, new], 1)
    if sensitive is not None and swapped:
        moved = np.flatnonzero(rng.random(n) < swapped)
        out[moved, sensitive] = out[rng.permutation(moved), sensitive]
    return out, drawn


def _values(block: NDArray[np.float32], *, fixed: bool) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
    """The values of a column, ``(V, width)``, which of them each row has, and how wide each is."""
    if block.shape[1] > 1:
        return np.eye(block.shape[1], dtype=np.float32), block.argmax(1), 0.0
    if fixed:
        codes = np.minimum((block[:, 0] * _BINS).astype(np.int64), _BINS - 1)
        return (np.arange(_BINS) / _BINS).astype(np.float32)[:, None], codes, 1 / _BINS
    values, inverse = np.unique(block[:, 0], return_inverse=True)
    return values[:, None], inverse.astype(np.int64), 0.0
