"""One byte for each number: a quarter of the bytes."""

import numpy as np
from numpy.typing import NDArray

from cutlayer.wire.codecs.affine import Affine


class Int8(Affine):
    """Float32 in, 256 evenly spaced levels on the wire, float32 out; the error is at most half a step."""

    name = "int8"
    greatest = 255

    def count_bytes(self, elements: int) -> int:
        """Return one byte for each level."""
        return elements

    def pack(self, levels: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
        """Write each level as one byte."""
        np.copyto(out, levels, casting="unsafe")

    def unpack(self, data: NDArray[np.uint8], elements: int) -> NDArray[np.float32]:
        """Read each level from one byte."""
        return data.astype(np.float32)
