"""One byte for each number: a quarter of the bytes."""

from cutlayer.wire.codecs.affine import Affine


class Int8(Affine):
    """Float32 in, 256 evenly spaced levels on the wire, float32 out; the error is at most half a step."""

    name = "int8"
    bits = 8
