"""Only the numbers of greatest magnitude, and their positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError, DecodeError, WireError
from cutlayer.wire.codecs.base import Codec, Encoded


class TopK(Codec):
    """The share `keep` of each sample that is greatest in magnitude, unchanged; the rest becomes 0. Float32 in and out.

    The bytes are one bit for each number of the tensor, least significant first, set if the number is kept; then the
    kept numbers in order, as float32. Zeros are never kept, so a sample may send fewer numbers.

    Args:
        keep: Share in (0, 1], rounded up to a whole number of elements.
    """

    name = "top-k"
    sends_zeros = True

    def __init__(self, keep: float = 0.1) -> None:
        if not 0 < keep <= 1:
            raise ConfigError(f"The option keep of top-k must be more than 0 and at most 1; {keep:g} was given.")
        self.keep = keep

    def encode(self, array: NDArray[Any]) -> Encoded:
        """Encode the bits and the kept numbers."""
        values = np.ascontiguousarray(array, np.float32)
        mask = np.zeros(0, np.bool_)
        if array.size:
            mask = _greatest(values.reshape(array.shape[0] if array.shape else 1, -1), self.keep).reshape(-1)
        numbers = values.reshape(-1).compress(mask).astype("<f4", copy=False)
        data = np.concatenate([np.packbits(mask, bitorder="little"), numbers.view(np.uint8)])
        return Encoded("FP32", array.shape, data.data, {"codec": self.name})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """Return the kept numbers at their positions, and 0 elsewhere."""
        elements = self.count(encoded)
        n_bits = (elements + 7) // 8
        n_kept, rest = divmod(len(encoded.data) - n_bits, 4)
        if rest or not 0 <= n_kept <= elements:
            raise DecodeError(f"A tensor of shape {encoded.shape} in top-k does not have {len(encoded.data)} bytes.")
        data = np.frombuffer(encoded.data, np.uint8)
        mask = np.unpackbits(data[:n_bits], bitorder="little").view(np.bool_)
        if np.count_nonzero(mask) != n_kept or mask[elements:].any():
            raise DecodeError(f"The bits of a tensor in top-k do not give the positions of its {n_kept} numbers.")
        values = np.zeros(elements, np.float32)
        values[np.flatnonzero(mask)] = data[n_bits:].view("<f4")
        return values.reshape(encoded.shape)

    def most_bytes(self, encoded: Encoded) -> int:
        """Return the length if every number is kept."""
        elements = self.count(encoded)
        return (elements + 7) // 8 + 4 * elements


def _greatest(samples: NDArray[np.float32], keep: float) -> NDArray[np.bool_]:
    """Return which numbers of each sample are kept, ``(N, D)``; of equal numbers the first."""
    count = math.ceil(keep * samples.shape[1])
    size = np.abs(samples)
    # A full sort is faster than numpy's partition, which is slow with many zeros.
    ordered = np.sort(size, axis=1)
    if not np.isfinite(ordered[:, -1]).all():
        raise WireError("top-k cannot carry infinite or undefined numbers; use the codec raw, or correct the head.")
    least = ordered[:, -count, None]
    kept = size >= np.where(least > 0, least, np.finfo(np.float32).smallest_subnormal)
    for row in np.flatnonzero(np.count_nonzero(kept, axis=1) > count):
        equal = np.flatnonzero(size[row] == least[row])
        surplus = np.count_nonzero(kept[row]) - count
        kept[row, equal[len(equal) - surplus :]] = False
    return kept
