"""Two numbers in one byte: an eighth of the bytes."""

from cutlayer.wire.codecs.affine import Affine


class Int4(Affine):
    """Float32 in, 16 evenly spaced levels on the wire, two in a byte, float32 out; the error is at most half a step."""

    name = "int4"
    bits = 4
