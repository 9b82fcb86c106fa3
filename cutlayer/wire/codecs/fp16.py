"""Half precision: half the bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.wire.codecs.base import Codec, Encoded, as_array, as_bytes

GREATEST = float(np.finfo(np.float16).max)


class Float16(Codec):
    """Float32 in, IEEE half precision on the wire, float32 out.

    The relative error is at most 2^-11 between 2^-14 and 65504; greater values become 65504, rather than infinite.
    """

    name = "fp16"

    def encode(self, array: NDArray[Any]) -> Encoded:
        """The array as half floats."""
        datatype, data = as_bytes(np.clip(array, -GREATEST, GREATEST).astype(np.float16))
        return Encoded(datatype, array.shape, data, {"codec": self.name})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """The array as float32."""
        return as_array(encoded, "FP16").astype(np.float32)
