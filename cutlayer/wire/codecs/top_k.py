"""The greatest numbers alone, and where they belong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError, DecodeError, WireError
from cutlayer.wire.codecs.base import Codec, Encoded, count_elements


class TopK(Codec):
    """Of each sample the share `keep` that is greatest by magnitude, as it is; the others become 0. Float32 in and out.

    The bytes: one bit for each number of the tensor, the least significant of a byte first, set where it was kept; then
    those kept, float32, in order. Zeros need no keeping, so a sample may send fewer.

    Args:
        keep: In (0, 1]. Rounded up to a whole number of elements.
    """

    name = "top-k"
    sends_zeros = True

    def __init__(self, keep: float = 0.1) -> None:
        if not 0 < keep <= 1:
            raise ConfigError(f"top-k:{keep:g}: keep is a share, more than 0 and at most 1.")
        self.keep = keep

    def encode(self, array: NDArray[Any]) -> Encoded:
        """Bits and what was kept."""
        values = np.ascontiguousarray(array, np.float32)
        mask = np.zeros(0, np.bool_)
        if array.size:
            mask = _greatest(values.reshape(array.shape[0] if array.shape else 1, -1), self.keep).reshape(-1)
        kept = values.reshape(-1).compress(mask).astype("<f4", copy=False)
        data = np.concatenate([np.packbits(mask, bitorder="little"), kept.view(np.uint8)])
        return Encoded("FP32", array.shape, data.data, {"codec": self.name})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """What was kept in its place, and 0 elsewhere."""
        elements = count_elements(encoded, ("FP32",))
        n_bits = (elements + 7) // 8
        n_kept, rest = divmod(len(encoded.data) - n_bits, 4)
        if rest or not 0 <= n_kept <= elements:
            raise DecodeError(f"A tensor of shape {encoded.shape} by top-k does not take {len(encoded.data)} bytes.")
        data = np.frombuffer(encoded.data, np.uint8)
        mask = np.unpackbits(data[:n_bits], bitorder="little").view(np.bool_)
        if np.count_nonzero(mask) != n_kept or mask[elements:].any():
            raise DecodeError(f"The bits of a tensor by top-k do not say where its {n_kept} numbers belong.")
        values = np.zeros(elements, np.float32)
        values[np.flatnonzero(mask)] = data[n_bits:].view("<f4")
        return values.reshape(encoded.shape)

    def most_bytes(self, encoded: Encoded) -> int:
        """All bits, and every number."""
        elements = count_elements(encoded, ("FP32",))
        return (elements + 7) // 8 + 4 * elements


def _greatest(samples: NDArray[np.float32], keep: float) -> NDArray[np.bool_]:
    """Which numbers of each sample are among its greatest, ``(N, D)``; of equals the first."""
    count = math.ceil(keep * samples.shape[1])
    size = np.abs(samples)
    # Sorting all is faster than finding the one that matters, for numpy's search is slow where zeros abound.
    ordered = np.sort(size, axis=1)
    if not np.isfinite(ordered[:, -1]).all():
        raise WireError("top-k cannot carry infinite or undefined numbers; send them raw, or mend the head.")
    least = ordered[:, -count, None]
    kept = size >= np.where(least > 0, least, np.finfo(np.float32).smallest_subnormal)
    for row in np.flatnonzero(np.count_nonzero(kept, axis=1) > count):
        equal = np.flatnonzero(size[row] == least[row])
        surplus = np.count_nonzero(kept[row]) - count
        kept[row, equal[len(equal) - surplus :]] = False
    return kept
