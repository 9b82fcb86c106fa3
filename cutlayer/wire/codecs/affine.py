"""Base of the codecs that send evenly spaced levels instead of numbers.

A number x is sent as the level nearest to (x - low) / step, and decoded as low + level * step, so its error is at most
half a step. Low and step belong to one sample, or to one channel of one sample, but never to a whole batch: the decoded
sample must not depend on the other samples of its batch.

The bytes are float32 low and step for each sample (or each channel of each sample), then the levels.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError, DecodeError, WireError
from cutlayer.wire.codecs.base import Codec, Encoded

PER = ("tensor", "channel")
LIMITS = np.dtype([("low", "<f4"), ("step", "<f4")])
TINY = np.finfo(np.float32).tiny


class Affine(Codec):
    """Evenly spaced levels. A subclass gives the number of bits of a level."""

    datatypes = ("UINT8",)
    parameters = ("per",)

    bits: Literal[4, 8]
    """Bits of a level. The first of two levels of 4 bits is in the lower half of a byte."""

    def __init__(self, per: str = "tensor") -> None:
        if per not in PER:
            raise ConfigError(f"The option per of {self.name} must be {' or '.join(PER)}; {per!r} was given.")
        self.per = per

    @property
    def keeps_rows(self) -> bool:  # type: ignore[override]
        """Whether each row has a low and a step of its own."""
        return self.per == "channel"

    @property
    def greatest(self) -> int:
        """The greatest level; the least is 0."""
        return (1 << self.bits) - 1

    def encode(self, array: NDArray[Any]) -> Encoded:
        """Encode low, step and levels."""
        groups = _groups(array.shape, self.per)
        limits = np.empty((groups, 1), LIMITS)
        data = np.empty(limits.nbytes + self._count_bytes(array.size), np.uint8)
        if array.size:
            values = np.ascontiguousarray(array, np.float32).reshape(groups, -1)
            with np.errstate(over="ignore", invalid="ignore"):
                low, step, ends = self._space(values)
            if not np.isfinite(ends).all():
                raise WireError(
                    f"{self.name} cannot carry infinite or undefined numbers; use the codec raw, or correct the head."
                )
            limits["low"], limits["step"] = low, step
            levels = values - low
            levels *= np.divide(1, step, out=np.zeros_like(step), where=step > 0)
            np.rint(levels, out=levels)
            self._pack(levels.reshape(-1), data[limits.nbytes :])
        data[: limits.nbytes] = limits.reshape(-1).view(np.uint8)
        return Encoded("UINT8", array.shape, data.data, {"codec": self.name, "per": self.per})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """Return the numbers that the levels stand for, as float32."""
        if len(encoded.data) != self.most_bytes(encoded):
            raise DecodeError(
                f"A tensor of shape {encoded.shape} in {self.name} has {self.most_bytes(encoded)} bytes, "
                f"not {len(encoded.data)}."
            )
        groups, elements = _groups(encoded.shape, _per(encoded)), self.count(encoded)
        if not elements:
            return np.empty(encoded.shape, np.float32)
        data = np.frombuffer(encoded.data, np.uint8)
        limits = data[: groups * LIMITS.itemsize].view(LIMITS).reshape(groups, 1)
        low, step = (limits[name].astype(np.float32) for name in ("low", "step"))
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(low + step * np.float32(self.greatest)).all():
                raise DecodeError("The levels of a tensor stand for infinite or undefined numbers.")
        values = self._unpack(data[limits.nbytes :], elements).reshape(groups, -1)
        values *= step
        values += low
        return values.reshape(encoded.shape)

    def most_bytes(self, encoded: Encoded) -> int:
        """Return the only possible length: that of low, step and levels."""
        elements = self.count(encoded)
        return _groups(encoded.shape, _per(encoded)) * LIMITS.itemsize + self._count_bytes(elements)

    def _count_bytes(self, levels: int) -> int:
        return (levels * self.bits + 7) // 8

    def _pack(self, levels: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
        """Write levels, whole numbers ``(D,)``, as bytes."""
        if self.bits == 8:
            np.copyto(out, levels, casting="unsafe")
            return
        pairs = levels.astype(np.uint8)
        if pairs.size % 2:
            pairs = np.append(pairs, np.uint8(0))
        np.left_shift(pairs[1::2], np.uint8(4), out=out)
        out |= pairs[::2]

    def _unpack(self, data: NDArray[np.uint8], elements: int) -> NDArray[np.float32]:
        """Undo `_pack`: ``(elements,)``."""
        if self.bits == 8:
            return data.astype(np.float32)
        if elements % 2 and data[-1] > self.greatest:
            raise DecodeError("The unused half of the last byte must be 0.")
        levels = np.empty(2 * data.size, np.float32)
        levels[::2] = data & np.uint8(15)
        levels[1::2] = data >> np.uint8(4)
        return levels[:elements]

    def _space(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return low, step, and the number that the greatest level stands for, each ``(groups, 1)``."""
        # reduceat is up to three times as fast as min(axis=1) for short groups, and never slower.
        flat, starts = values.reshape(-1), np.arange(0, values.size, values.shape[1])
        low: NDArray[np.float32] = np.minimum.reduceat(flat, starts)[:, None]
        high: NDArray[np.float32] = np.maximum.reduceat(flat, starts)[:, None]
        step: NDArray[np.float32] = (high - low) / np.float32(self.greatest)
        # The inverse of a smaller step would be infinite.
        step[step < TINY] = 0
        return low, step, low + step * np.float32(self.greatest)


def _groups(shape: tuple[int, ...], per: str) -> int:
    """Return the number of pairs of low and step; 0 for an empty tensor."""
    if 0 in shape:
        return 0
    # With fewer than three dimensions, a channel would be one number.
    if per == "channel" and len(shape) > 2:
        return shape[0] * shape[1]
    return shape[0] if shape else 1


def _per(encoded: Encoded) -> str:
    per = encoded.parameters.get("per", "tensor")
    if per not in PER:
        raise DecodeError(f"The parameter per must be {' or '.join(PER)}, not {per!r:.40}.")
    return str(per)
