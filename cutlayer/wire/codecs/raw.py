"""The array's own bytes."""

from typing import Any

from numpy.typing import NDArray

from cutlayer.wire.codecs.base import DATATYPES, FLOAT, Codec, Encoded, as_array, as_bytes, count_elements


class Raw(Codec):
    """The array's own bytes: nothing is lost, nothing is copied."""

    name = "raw"

    def encode(self, array: NDArray[Any]) -> Encoded:
        """The bytes of the array itself where it is contiguous; do not change it while they are being sent."""
        datatype, data = as_bytes(array)
        return Encoded(datatype, array.shape, data, {"codec": self.name})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """A read-only array over the bytes that arrived."""
        return as_array(encoded)

    def most_bytes(self, encoded: Encoded) -> int:
        """Those of the array."""
        dtype = DATATYPES.get(encoded.datatype, FLOAT)
        return count_elements(encoded, DATATYPES, dtype) * dtype.itemsize
