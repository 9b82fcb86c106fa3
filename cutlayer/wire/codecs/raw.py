"""The array's own bytes."""

import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import DATATYPES, FLOAT, Buffer, Codec, Encoded, as_array, as_bytes, count_elements


class Raw(Codec):
    """The array's own bytes: nothing is lost, nothing is copied."""

    name = "raw"
    datatypes = DATATYPES
    keeps_rows = True
    copies_bytes = False
    _PARAMETERS = MappingProxyType({"codec": name})

    def encode(self, array: NDArray[Any]) -> Encoded:
        """Return the bytes of the array itself if it is contiguous; do not change it while they are sent."""
        datatype, data = as_bytes(array)
        return Encoded(datatype, array.shape, data, self._PARAMETERS)

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """Return a read-only array over the bytes that arrived."""
        return as_array(encoded)

    def decoder(self, described: Encoded) -> Callable[[Buffer], NDArray[Any]]:
        """Return a faster `decode`, which checks only the length of the bytes."""
        length, dtype, shape = self.most_bytes(described), DATATYPES.get(described.datatype, FLOAT), described.shape
        if not length or sys.byteorder != "little":
            return super().decoder(described)

        def decode(data: Buffer) -> NDArray[Any]:
            if len(data) != length:
                raise DecodeError(f"A {described.datatype} tensor of shape {shape} does not have {len(data)} bytes.")
            array: NDArray[Any] = np.ndarray(shape, dtype, data)
            if type(data) is not bytes:
                array.flags.writeable = False
            return array

        return decode

    def most_bytes(self, encoded: Encoded) -> int:
        """Return the number of bytes of the array."""
        dtype = DATATYPES.get(encoded.datatype, FLOAT)
        return count_elements(encoded, self.datatypes, dtype) * dtype.itemsize
