"""The base classes of codecs, and the checks that each tensor from the network passes before its bytes are used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import DecodeError

Buffer = bytes | memoryview
Parameter = bool | int | float | str

MAX_DIMENSIONS = 8
MAX_TENSOR_BYTES = 256 << 20

# Datatypes of the Open Inference Protocol that numpy has. Always little-endian.
DATATYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
FLOAT = np.dtype(np.float32)


def datatype_of(dtype: str) -> str:
    """Return the name of a type that numpy has, by the name that numpy has for it."""
    return _NAMES[np.dtype(dtype).newbyteorder("<")]


NO_PARAMETERS: Mapping[str, Parameter] = MappingProxyType({})


class Encoded(NamedTuple):
    """A tensor on the wire: its bytes, and their description.

    Attributes:
        datatype: Type of the numbers in the bytes, as the Open Inference Protocol names it: ``FP32``.
        shape: Shape of the decoded array, with the batch axis.
        data: The bytes, in C order. They may share the memory of an array; do not change it while they are sent.
        parameters: ``codec`` and further parameters for decoding. They are the same for all arrays of a codec with the
            same settings, so that the header of a session never changes. Values such as a scale belong to the bytes.
    """

    datatype: str
    shape: tuple[int, ...]
    data: Buffer
    parameters: Mapping[str, Parameter] = NO_PARAMETERS


class Codec:
    """Base of every codec. The constructor's arguments are its settings; `repr` prints them.

    The first line of a subclass's docstring is its text in `cutlayer list codecs`. Decoding uses no settings, only
    `Encoded.parameters`.
    """

    name: str
    """Name in `cutlayer.registry.CODECS`, and value of the parameter ``codec``."""

    datatypes: Collection[str] = ("FP32",)
    """Values of `Encoded.datatype` that it accepts."""

    parameters: tuple[str, ...] = ()
    """Names of its entries in `Encoded.parameters` beside ``codec``."""

    sends_zeros = False
    """Whether the codec leaves zeros in place of values, so that their positions are a message of their own."""

    keeps_rows = False
    """Whether each row of a sequence ``(N, T, width)`` is encoded by itself, and one of zeros arrives as it is."""

    copies_bytes = True
    """Whether a decoded array takes memory beside that of the bytes."""

    def encode(self, array: NDArray[Any]) -> Encoded:
        """Return the bytes to send for ``(N, ...)``. Samples do not mix: a batch decodes to what its parts would.

        Raises:
            WireError: The array holds values that this codec cannot carry.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks encode()")

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """Return the decoded array, which may be read-only and share the memory of the bytes.

        Raises:
            DecodeError: The bytes do not match their description.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks decode()")

    def decoder(self, described: Encoded) -> Callable[[Buffer], NDArray[Any]]:
        """Return `decode` for the bytes of many tensors with one description.

        Raises:
            DecodeError: The description is not valid for this codec or exceeds the limits; the function may also be
                the first to raise it.
        """
        return lambda data: self.decode(described._replace(data=data))

    def most_bytes(self, encoded: Encoded) -> int:
        """Return the greatest length of `Encoded.data` for a tensor with this description.

        Raises:
            DecodeError: The description is not valid for this codec, or exceeds the limits.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks most_bytes()")

    def count(self, encoded: Encoded) -> int:
        """Return the number of elements of a tensor for this codec. Raises DecodeError like `most_bytes`."""
        return count_elements(encoded, self.datatypes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class Packing:
    """Base of every codec that packs the bytes of another one into fewer, without loss.

    Like a codec, it is one file and one line in the registry; `cutlayer.wire.codecs.packed` combines the two.
    """

    name: str
    """Name in `cutlayer.registry.CODECS`."""

    sends_zeros = False

    def pack(self, data: Buffer, itemsize: int) -> Buffer:
        """Return the bytes to send for these bytes, most of which are numbers of `itemsize` bytes."""
        raise NotImplementedError(f"{type(self).__name__} lacks pack()")

    def unpack(self, data: Buffer, itemsize: int, most_bytes: int) -> Buffer:
        """Undo `pack`.

        Raises:
            DecodeError: The bytes do not come from `pack`, or would become more than `most_bytes`.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks unpack()")

    __repr__ = Codec.__repr__


def as_bytes(array: NDArray[Any]) -> tuple[str, memoryview]:
    """Return the datatype and the bytes of an array, without a copy if it is contiguous.

    Raises:
        TypeError: The protocol has no such datatype.
    """
    # Nearly all arrays have this very dtype object, and a dictionary would hash it slowly.
    name = "FP32" if array.dtype is FLOAT else _NAMES.get(array.dtype)
    if name and array.size and array.ndim and array.flags.c_contiguous:
        return name, array.data.cast("B")
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise TypeError(f"Arrays of type {array.dtype} cannot be sent; use one of {', '.join(DATATYPES)}.")
    flat = np.ascontiguousarray(array, dtype).reshape(-1)
    return _NAMES[dtype], flat.view(np.uint8).data


def count_elements(encoded: Encoded, datatypes: Iterable[str], decoded: np.dtype[Any] = FLOAT) -> int:
    """Return the number of elements of a tensor that is decoded to this type.

    Raises:
        DecodeError: The datatype is not among those accepted, or the description exceeds the limits.
    """
    if encoded.datatype not in datatypes:
        raise DecodeError(
            f"Tensors of type {encoded.datatype!r:.40} are not accepted here; send {', '.join(datatypes)}."
        )
    shape = encoded.shape
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= size <= MAX_TENSOR_BYTES for size in shape):
        raise DecodeError(
            f"A tensor has at most {MAX_DIMENSIONS} dimensions, none of them negative; the shape is {shape!s:.80}."
        )
    elements = prod(shape)
    if elements * decoded.itemsize > MAX_TENSOR_BYTES:
        raise DecodeError(f"A tensor of shape {shape} exceeds the limit of {MAX_TENSOR_BYTES} bytes.")
    return elements


def as_array(encoded: Encoded, *datatypes: str) -> NDArray[Any]:
    """Return a read-only array over the bytes; without `datatypes` all of `DATATYPES` are accepted.

    Raises:
        DecodeError: Type, shape and length do not match, or exceed the limits.
    """
    dtype, length, shape = DATATYPES.get(encoded.datatype, FLOAT), len(encoded.data), encoded.shape
    if count_elements(encoded, datatypes or DATATYPES, dtype) * dtype.itemsize != length:
        raise DecodeError(f"A {encoded.datatype} tensor of shape {shape} does not have {length} bytes.")
    array = np.frombuffer(encoded.data, dtype).reshape(shape) if length else np.empty(shape, dtype)
    array.flags.writeable = False
    return array if sys.byteorder == "little" else array.astype(dtype.newbyteorder("="))
