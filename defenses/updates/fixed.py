"""Fixed point modulo 2**32: sums that are exact, whatever random number one party adds and another one takes away.

A number x is round(x * 2**bits), kept in 32 bits. Sums wrap around, so that a uniform summand makes the sum uniform and
tells nothing, and what cancels leaves no trace. A sum of K numbers is off by at most K / 2**(bits + 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.errors import ConfigError

Words = NDArray[np.uint32]

MOST_PARTIES = 10_000
"""So many numbers can be off by a half each and the sum stays within the range."""


class OutOfRange(ConfigError):
    """A number cannot be summed in fixed point.

    Attributes:
        name: What the number belongs to.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name} {text}")
        self.name = name


def limit(bits: int) -> float:
    """The greatest absolute value of a sum."""
    return ((1 << 31) - MOST_PARTIES) / float(1 << bits)


def encoded(values: Any, bits: int, most: float, share: float = 1.0, name: str = "a number") -> Words:
    """Numbers in fixed point.

    Args:
        values: An array of numpy, or a tensor.
        bits: Bits behind the point.
        most: The greatest absolute value of a number.
        share: What the numbers are multiplied with.
        name: What they are, for the message.

    Raises:
        OutOfRange: A number is NaN or beyond `most`; it would wrap around in the sum without a trace.
    """
    array = np.asarray(values, np.float64)
    if array.size and not np.abs(array).max() <= most:
        raise OutOfRange(
            name,
            f"is {_worst(array):g} at most, which is not within the ±{most:,.6g} that fixed point with {bits} "
            "bits behind the point can sum; take fewer bits, or a lower learning rate.",
        )
    return np.asarray(np.rint(array * share * (1 << bits)).astype(np.int64).astype(np.uint32))


def decoded(words: Words, bits: int) -> NDArray[np.float64]:
    """The numbers, exactly: 32 bits fit into a float64."""
    return words.view(np.int32) / float(1 << bits)


def numbers(words: Words, bits: int, like: Any) -> Any:
    """Words as the numbers that a server takes them for: float64, in the kind of array that `like` is."""
    array = decoded(words, bits)
    return torch.from_numpy(array) if isinstance(like, torch.Tensor) else array


def added(shared: Mapping[int, Mapping[str, Any]], bits: int) -> dict[str, Any]:
    """The sum of what `numbers` has made of each party's words, float32, in the same kind of arrays."""

    def total(name: str) -> NDArray[np.float32]:
        exact = sum(np.asarray(of[name], np.float64) for of in shared.values())
        words = np.rint(np.asarray(exact) * (1 << bits)).astype(np.int64).astype(np.uint32)
        return decoded(words, bits).astype(np.float32)

    first = next(iter(shared.values()), {})
    back: Callable[[Any], Any] = torch.from_numpy
    return {n: back(total(n)) if isinstance(value, torch.Tensor) else total(n) for n, value in first.items()}


def _worst(array: NDArray[np.float64]) -> float:
    return float(np.nan if np.isnan(array).any() else np.abs(array).max())
