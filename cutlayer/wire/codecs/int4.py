"""Two numbers in one byte: an eighth of the bytes."""

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.affine import Affine


class Int4(Affine):
    """Float32 in, 16 evenly spaced levels on the wire, two in a byte, float32 out; the error is at most half a step."""

    name = "int4"
    greatest = 15

    def count_bytes(self, elements: int) -> int:
        """Return half as many bytes, rounded up."""
        return (elements + 1) // 2

    def pack(self, levels: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
        """Write the first of two levels into the lower half of a byte."""
        pairs = levels.astype(np.uint8)
        if pairs.size % 2:
            pairs = np.append(pairs, np.uint8(0))
        np.left_shift(pairs[1::2], np.uint8(4), out=out)
        out |= pairs[::2]

    def unpack(self, data: NDArray[np.uint8], elements: int) -> NDArray[np.float32]:
        """Read the first of two levels from the lower half of a byte."""
        if elements % 2 and data[-1] > self.greatest:
            raise DecodeError("The unused half of the last byte must be 0.")
        levels = np.empty(2 * data.size, np.float32)
        levels[::2] = data & np.uint8(15)
        levels[1::2] = data >> np.uint8(4)
        return levels[:elements]
