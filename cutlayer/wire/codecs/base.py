"""What every codec is, and the checks that any tensor from the network passes before a byte of it is used."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError, DecodeError
from cutlayer.registry import CODECS

Buffer = bytes | memoryview
Parameter = bool | int | float | str

MAX_DIMENSIONS = 8
MAX_TENSOR_BYTES = 256 << 20

# The data types of the Open Inference Protocol that may arrive. Little-endian, whatever this machine is.
DATATYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "INT8": np.dtype("i1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}


NO_PARAMETERS: Mapping[str, Parameter] = MappingProxyType({})


class Encoded(NamedTuple):
    """A tensor as it travels: its bytes, and what it takes to read them.

    Attributes:
        datatype: Of the bytes, by the Open Inference Protocol's name: ``FP32``.
        shape: With the batch axis.
        data: The bytes, in C order. Owned by whoever made them; do not change them while they are being sent.
        parameters: ``codec`` and the settings of that codec.
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

    def encode(self, array: NDArray[Any]) -> Encoded:
        """The bytes to send for ``(N, ...)``."""
        raise NotImplementedError(f"{type(self).__name__} lacks encode()")

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """The array that the other side encoded; it may be read-only, and may share the memory of the bytes.

        Raises:
            DecodeError: The bytes are not what their description says.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks decode()")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def decode(encoded: Encoded) -> NDArray[Any]:
    """Decode with the codec that the tensor names; one that names none is raw.

    Raises:
        DecodeError: There is no such codec, or the bytes are not what their description says.
    """
    return _codec(encoded.parameters.get("codec", "raw")).decode(encoded)


@cache
def _codec(name: Parameter) -> Codec:
    try:
        return cast(Codec, CODECS.make(str(name)))
    except ConfigError as error:
        raise DecodeError(str(error)) from None


def as_bytes(array: NDArray[Any]) -> tuple[str, memoryview]:
    """The data type's name and the bytes of an array, without a copy where it is contiguous.

    Raises:
        TypeError: The protocol has no such data type.
    """
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise TypeError(f"Arrays of type {array.dtype} cannot be sent; use one of {', '.join(DATATYPES)}.")
    flat = np.ascontiguousarray(array, dtype).reshape(-1)
    return _NAMES[dtype], flat.view(np.uint8).data


def as_array(encoded: Encoded, *datatypes: str) -> NDArray[Any]:
    """A read-only array over the bytes, once their description has been found true.

    Args:
        encoded: What arrived.
        datatypes: Those allowed; all of `DATATYPES` when left out.

    Raises:
        DecodeError: Type, shape and length do not agree, or are beyond the limits.
    """
    if encoded.datatype not in (datatypes or DATATYPES):
        raise DecodeError(
            f"Tensors of type {encoded.datatype!r:.40} are not accepted here; send {', '.join(datatypes or DATATYPES)}."
        )
    dtype, shape, length = DATATYPES[encoded.datatype], encoded.shape, len(encoded.data)
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= size <= MAX_TENSOR_BYTES for size in shape):
        raise DecodeError(
            f"A tensor has at most {MAX_DIMENSIONS} dimensions, none negative; this one says {shape!s:.80}."
        )
    if length > MAX_TENSOR_BYTES or prod(shape) * dtype.itemsize != length:
        raise DecodeError(f"A {encoded.datatype} tensor of shape {shape} does not take {length} bytes.")
    array = np.frombuffer(encoded.data, dtype).reshape(shape) if length else np.empty(shape, dtype)
    array.flags.writeable = False
    return array if sys.byteorder == "little" else array.astype(dtype.newbyteorder("="))
