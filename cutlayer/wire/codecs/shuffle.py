"""First bytes first: what varies little lies together, and packs better."""

import numpy as np
from numpy.typing import NDArray

from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.codecs.packed import Packing


class Shuffle(Packing):
    """The lowest byte of each number, then the next of each; packs the bytes of a codec, as in raw+shuffle+zstd.

    What follows the last whole number stays where it is.
    """

    name = "shuffle"

    def pack(self, data: Buffer, itemsize: int) -> Buffer:
        """As many bytes, in another order."""
        given, out = _pair(data)
        whole = len(given) // itemsize * itemsize
        # Shifting whole arrays is several times faster than transposing bytes.
        numbers = given[:whole].view(f"<u{itemsize}")
        for place, plane in enumerate(out[:whole].reshape(itemsize, -1)):
            np.copyto(plane, numbers >> numbers.dtype.type(8 * place), casting="unsafe")
        return out.data

    def unpack(self, data: Buffer, itemsize: int, most_bytes: int) -> Buffer:
        """As many bytes, in their own order."""
        given, out = _pair(data)
        whole = len(given) // itemsize * itemsize
        numbers = out[:whole].view(f"<u{itemsize}")
        numbers[:] = 0
        for place, plane in enumerate(given[:whole].reshape(itemsize, -1)):
            numbers |= plane.astype(numbers.dtype) << numbers.dtype.type(8 * place)
        return out.data


def _pair(data: Buffer) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The bytes, and a copy to be overwritten but for what is no whole number."""
    given = np.frombuffer(data, np.uint8)
    return given, given.copy()
