"""What every codec is, and the checks that any tensor from the network passes before a byte of it is used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
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

# The data types of the Open Inference Protocol that may arrive. Little-endian, whatever this machine is.
DATATYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "INT8": np.dtype("i1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
FLOAT = np.dtype(np.float32)

NO_PARAMETERS: Mapping[str, Parameter] = MappingProxyType({})


class Encoded(NamedTuple):
    """A tensor as it travels: its bytes, and what it takes to read them.

    Attributes:
        datatype: Of the numbers in the bytes, by the Open Inference Protocol's name: ``FP32``.
        shape: Of the array that decoding gives, with the batch axis.
        data: The bytes, in C order. Owned by whoever made them; do not change them while they are being sent.
        parameters: ``codec`` and what else decoding takes. The same for all arrays of a codec with the same settings:
            what depends on the values, such as a scale, is part of the bytes, so that a session's header never changes.
    """

    datatype: str
    shape: tuple[int, ...]
    data: Buffer
    parameters: Mapping[str, Parameter] = NO_PARAMETERS


class Codec:
    """Base of every codec. The constructor's arguments are its settings; `repr` prints them.

    Decoding needs no settings of its own: what it needs travels in `Encoded.parameters`.
    """

    name: str
    """As in `cutlayer.registry.CODECS`; what `Encoded.parameters` says under ``codec``."""

    sends_zeros = False
    """Whether the codec leaves zeros in place of values, so that their positions are a message of their own."""

    def encode(self, array: NDArray[Any]) -> Encoded:
        """The bytes to send for ``(N, ...)``. Samples do not mix: a batch decodes to what its parts would.

        Raises:
            WireError: There are values that this codec cannot carry.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks encode()")

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """The array that the other side encoded; it may be read-only, and may share the memory of the bytes.

        Raises:
            DecodeError: The bytes are not what their description says.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks decode()")

    def decoder(self, described: Encoded) -> Callable[[Buffer], NDArray[Any]]:
        """`decode` for the bytes of many tensors of one description.

        Raises:
            DecodeError: The description is none of this codec, or beyond the limits; or only the function says so.
        """
        return lambda data: self.decode(described._replace(data=data))

    def most_bytes(self, encoded: Encoded) -> int:
        """The longest `Encoded.data` that a tensor of this description can have.

        Raises:
            DecodeError: The description is none of this codec, or beyond the limits.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks most_bytes()")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def as_bytes(array: NDArray[Any]) -> tuple[str, memoryview]:
    """The data type's name and the bytes of an array, without a copy where it is contiguous.

    Raises:
        TypeError: The protocol has no such data type.
    """
    # Of nearly all arrays it is this very object; to look a type up, NumPy hashes what it is made of.
    name = "FP32" if array.dtype is FLOAT else _NAMES.get(array.dtype)
    if name and array.size and array.ndim and array.flags.c_contiguous:
        return name, array.data.cast("B")
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise TypeError(f"Arrays of type {array.dtype} cannot be sent; use one of {', '.join(DATATYPES)}.")
    flat = np.ascontiguousarray(array, dtype).reshape(-1)
    return _NAMES[dtype], flat.view(np.uint8).data


def count_elements(encoded: Encoded, datatypes: Iterable[str], decoded: np.dtype[Any] = FLOAT) -> int:
    """How many numbers a tensor holds, once its description has been found within the limits.

    Args:
        encoded: What arrived.
        datatypes: Those allowed.
        decoded: Type of the array that decoding gives.

    Raises:
        DecodeError: The description is beyond the limits.
    """
    if encoded.datatype not in datatypes:
        raise DecodeError(
            f"Tensors of type {encoded.datatype!r:.40} are not accepted here; send {', '.join(datatypes)}."
        )
    shape = encoded.shape
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= size <= MAX_TENSOR_BYTES for size in shape):
        raise DecodeError(
            f"A tensor has at most {MAX_DIMENSIONS} dimensions, none negative; this one says {shape!s:.80}."
        )
    elements = prod(shape)
    if elements * decoded.itemsize > MAX_TENSOR_BYTES:
        raise DecodeError(f"A tensor of shape {shape} is beyond the limit of {MAX_TENSOR_BYTES} bytes.")
    return elements


def as_array(encoded: Encoded, *datatypes: str) -> NDArray[Any]:
    """A read-only array over the bytes, once their description has been found true.

    Args:
        encoded: What arrived.
        datatypes: Those allowed; all of `DATATYPES` when left out.

    Raises:
        DecodeError: Type, shape and length do not agree, or are beyond the limits.
    """
    dtype, length, shape = DATATYPES.get(encoded.datatype, FLOAT), len(encoded.data), encoded.shape
    if count_elements(encoded, datatypes or DATATYPES, dtype) * dtype.itemsize != length:
        raise DecodeError(f"A {encoded.datatype} tensor of shape {shape} does not take {length} bytes.")
    array = np.frombuffer(encoded.data, dtype).reshape(shape) if length else np.empty(shape, dtype)
    array.flags.writeable = False
    return array if sys.byteorder == "little" else array.astype(dtype.newbyteorder("="))
