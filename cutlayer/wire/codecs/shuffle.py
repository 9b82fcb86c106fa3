"""First bytes first: what varies little lies together, and packs better."""

import numpy as np

from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.codecs.packed import Packing


class Shuffle(Packing):
    """The first byte of each number, then the second of each; packs the bytes of a codec, as in raw+shuffle+zstd.

    What follows the last whole number stays where it is.
    """

    name = "shuffle"

    def pack(self, data: Buffer, itemsize: int) -> Buffer:
        """As many bytes, in another order."""
        given = np.frombuffer(data, np.uint8)
        whole = len(given) // itemsize * itemsize
        out = given.copy()
        out[:whole].reshape(itemsize, -1)[:] = given[:whole].reshape(-1, itemsize).T
        return out.data

    def unpack(self, data: Buffer, itemsize: int, most_bytes: int) -> Buffer:
        """As many bytes, in their own order."""
        given = np.frombuffer(data, np.uint8)
        whole = len(given) // itemsize * itemsize
        out = given.copy()
        out[:whole].reshape(-1, itemsize)[:] = given[:whole].reshape(itemsize, -1).T
        return out.data
