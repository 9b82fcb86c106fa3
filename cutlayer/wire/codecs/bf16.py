"""The upper half of a float32: half the bytes, and the whole range."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.wire.codecs.base import Codec, Encoded, as_array, as_bytes


class BFloat16(Codec):
    """Float32 in, bfloat16 on the wire, float32 out.

    The relative error is at most 2^-8 for normal numbers up to 3.38e38; greater numbers become infinite.
    """

    name = "bf16"
    datatypes = ("BF16",)
    keeps_rows = True

    def encode(self, array: NDArray[Any]) -> Encoded:
        """Encode the array as bfloat16, rounded to nearest, ties to even."""
        values = np.ascontiguousarray(array, np.float32)
        if np.isnan(values.max(initial=0)):
            # One NaN for all: the rounding below would carry some NaNs into the sign bit.
            values = np.where(np.isnan(values), np.float32(np.nan), values)
        bits = values.view(np.uint32)
        rounded = bits >> np.uint32(16)
        rounded &= np.uint32(1)
        rounded += np.uint32(0x7FFF)
        rounded += bits
        rounded >>= np.uint32(16)
        _, data = as_bytes(rounded.astype(np.uint16))
        return Encoded("BF16", array.shape, data, {"codec": self.name})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """Return the array as float32."""
        self.most_bytes(encoded)
        bits = as_array(encoded._replace(datatype="UINT16")).astype(np.uint32)
        bits <<= np.uint32(16)
        return bits.view(np.float32)

    def most_bytes(self, encoded: Encoded) -> int:
        """Return two bytes for each number."""
        return 2 * self.count(encoded)
