"""Sequences of tokens: ids of one length in memory, padded at their ends, and of their own lengths on the wire.

The id `PAD` stands behind the end of a sentence. A device cuts it off before its head computes, so that padding never
leaves it, and the server computes requests of one length together. What arrived is padded with zeros again, so that
attacks see arrays of one shape, in which a row of zeros is no token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAD = 0
"""The id that stands for no token, behind the end of a sequence."""


def lengths(ids: NDArray[np.int64]) -> NDArray[np.intp]:
    """The number of tokens of each sequence, ``(N, T)`` to ``(N,)``; at least 1."""
    places = np.arange(1, ids.shape[1] + 1)
    found: NDArray[np.intp] = np.where(ids != PAD, places, 1).max(axis=1)
    return found


def trimmed(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same sequences without the places behind the longest of them, ``(N, T)`` to ``(N, t)``."""
    longest = int(lengths(ids).max()) if len(ids) else ids.shape[1]
    return ids if longest == ids.shape[1] else np.ascontiguousarray(ids[:, :longest])


def padded(values: NDArray[Any], length: int) -> NDArray[Any]:
    """Sequences ``(N, t, ...)`` with zeros behind their ends, ``(N, length, ...)``."""
    if values.shape[1] == length:
        return values
    whole = np.zeros((len(values), length, *values.shape[2:]), values.dtype)
    whole[:, : values.shape[1]] = values
    return whole


def by_length(
    compute: Callable[[NDArray[np.int64]], NDArray[Any]], ids: NDArray[np.int64], length: int
) -> NDArray[Any]:
    """Compute sequences of each length by themselves, so that none is computed with padding.

    Args:
        compute: From ids ``(n, t)`` to values ``(n, t, ...)``.
        ids: ``(N, T)``, padded.
        length: The length of what is returned.

    Returns:
        The values ``(N, length, ...)``, zero behind the end of each sequence.
    """
    own = lengths(ids)
    result: NDArray[Any] | None = None
    for longest in np.unique(own):
        at = own == longest
        values = padded(compute(np.ascontiguousarray(ids[at, :longest])), length)
        if result is None:
            result = np.empty((len(ids), *values.shape[1:]), values.dtype)
        result[at] = values
    assert result is not None
    return result


def each_length(change: Callable[[Any], Any], rows: Any, own: NDArray[np.intp]) -> Any:
    """Change the rows of sequences of each length by themselves, so that nothing is done to padding.

    Args:
        change: From ``(n, t, width)`` to values of as many sequences and rows.
        rows: ``(N, T, width)``, a numpy array or a torch tensor, through which gradients flow; zero behind each end.
        own: The length of each sequence, ``(N,)``.

    Returns:
        The changed rows, ``(N, T, width)``, zero behind the end of each sequence.
    """
    if (own == rows.shape[1]).all():
        return change(rows)
    whole = np.zeros_like(rows) if isinstance(rows, np.ndarray) else rows.new_zeros(rows.shape)
    for length in np.unique(own):
        at = np.flatnonzero(own == length)
        whole[at, :length] = change(rows[at, :length])
    return whole
