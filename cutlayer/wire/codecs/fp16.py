"""Half precision: half the bytes.

numpy converts half floats one at a time; integer arithmetic on whole arrays takes a tenth of the time. A float32
multiplied by 2^-112 has the bits of a half float in its upper part, apart from rounding.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.wire.codecs.base import Codec, Encoded, as_array, as_bytes

GREATEST = float(np.finfo(np.float16).max)
DOWN, UP = np.float32(2.0**-112), np.float32(2.0**112)


class Float16(Codec):
    """Float32 in, IEEE half precision on the wire, float32 out.

    The relative error is at most 2^-11 between 2^-14 and 65504; greater numbers become 65504 instead of infinite.
    """

    name = "fp16"
    datatypes = ("FP16",)
    keeps_rows = True

    def encode(self, array: NDArray[Any]) -> Encoded:
        """Encode the array as half floats, rounded to nearest, ties to even."""
        datatype, data = as_bytes(_narrow(np.ascontiguousarray(array, np.float32)))
        return Encoded(datatype, array.shape, data, {"codec": self.name})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """Return the array as float32."""
        return _widen(as_array(encoded, "FP16"))

    def most_bytes(self, encoded: Encoded) -> int:
        """Return two bytes for each number."""
        return 2 * self.count(encoded)


def _narrow(array: NDArray[np.float32]) -> NDArray[np.float16]:
    low, high = array.min(initial=0), array.max(initial=0)
    if not (low >= -GREATEST and high <= GREATEST):
        return np.clip(array, -GREATEST, GREATEST).astype(np.float16)
    bits = (array * DOWN).view(np.uint32)
    half = bits >> np.uint32(13)
    half &= np.uint32(1)
    half += np.uint32(0xFFF)
    half += bits
    half >>= np.uint32(13)
    if low < 0:
        sign = half >> np.uint32(3)
        sign &= np.uint32(0x8000)
        half &= np.uint32(0x7FFF)
        half |= sign
    return half.astype(np.uint16).view(np.float16)


def _widen(array: NDArray[np.float16]) -> NDArray[np.float32]:
    # Infinite and undefined numbers, which `_narrow` never makes, have the greatest exponent.
    if array.size and int((array.view(np.uint16) & np.uint16(0x7C00)).max()) == 0x7C00:
        with np.errstate(invalid="ignore"):
            return array.astype(np.float32)
    bits = array.view(np.int16).astype(np.int32)
    bits <<= np.int32(13)
    bits &= np.int32(~0x70000000)
    wide = bits.view(np.float32)
    wide *= UP
    return wide
