"""The messages between the two sides and their bytes: one header, then the bytes of the tensors.

The header is a message of the Open Inference Protocol (`proto/cutlayer/wire/open_inference.proto`) without its raw
contents. A transport carries header and tensors without reading them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message as Protobuf

from cutlayer.errors import DecodeError
from cutlayer.wire import open_inference_pb2
from cutlayer.wire.codecs.base import MAX_TENSOR_BYTES, NO_PARAMETERS, Buffer, Encoded, Parameter
from cutlayer.wire.protobuf import MAX_TENSORS
from cutlayer.wire.typed_contents import take_out

PROTOCOL = 1
"""Version of our own header fields, which each request states as the parameter ``protocol``."""

MAX_HEADER_BYTES = 64 << 10
MAX_MESSAGE_BYTES = MAX_TENSOR_BYTES + MAX_HEADER_BYTES
MAX_ID_BYTES = 127

AnyProtobuf = TypeVar("AnyProtobuf", bound=Protobuf)


class Kind(IntEnum):
    """The kinds of messages. A reply has the kind of its request, or ERROR. Those from 16 on are of training."""

    ERROR = 0
    INFER = 1
    METADATA = 2
    OPEN = 16
    TURN = 17
    STEP = 18
    AGGREGATE = 19
    EVALUATE = 20
    CHECKPOINT = 21
    CLOSE = 22


class Message(NamedTuple):
    """One message on a transport.

    Attributes:
        kind: Kind of the message.
        header: Serialized protobuf message without its raw contents.
        tensors: Bytes of each tensor that the header describes, in the same order.
    """

    kind: Kind
    header: bytes
    tensors: tuple[Buffer, ...] = ()

    @property
    def nbytes(self) -> int:
        """Size of header and tensors, without the framing of the transport."""
        return len(self.header) + sum(map(len, self.tensors))


class Inference(NamedTuple):
    """A request for one inference, or the answer to it.

    Attributes:
        model: Name of the tail.
        version: Version of the split that the sender holds.
        id: Id that the client chooses and the answer repeats.
        tensors: Tensors by name.
        parameters: Protocol, session and defense in a request; the server's durations in an answer.
    """

    model: str
    version: str
    id: str
    tensors: Mapping[str, Encoded]
    parameters: Mapping[str, Parameter] = NO_PARAMETERS


def infer_request(inference: Inference) -> Message:
    """Return the message that requests one inference."""
    return _pack(inference, open_inference_pb2.ModelInferRequest(), "inputs")


def read_infer_request(message: Message) -> Inference:
    """Undo `infer_request`. Raises DecodeError."""
    return _unpack(message, open_inference_pb2.ModelInferRequest, "inputs")


def infer_reply(inference: Inference) -> Message:
    """Return the message that answers a request."""
    return _pack(inference, open_inference_pb2.ModelInferResponse(), "outputs")


def read_infer_reply(message: Message) -> Inference:
    """Undo `infer_reply`. Raises DecodeError."""
    return _unpack(message, open_inference_pb2.ModelInferResponse, "outputs")


def _pack(inference: Inference, header: Any, field: str) -> Message:
    header.model_name, header.model_version, header.id = inference.model, inference.version, inference.id
    write_parameters(inference.parameters, header.parameters)
    return Message(Kind.INFER, *written(header, getattr(header, field), inference.tensors))


def _unpack(message: Message, kind: Any, field: str) -> Inference:
    if not message.tensors:
        # Other clients may send the tensors inside the header.
        message = Message(message.kind, *take_out(message.header))
    header = parse(kind, message)
    tensors = read_tensors(getattr(header, field), message.tensors)
    if len(header.id.encode()) > MAX_ID_BYTES:
        raise DecodeError(f"An id has at most {MAX_ID_BYTES} bytes; this one is longer.")
    return Inference(header.model_name, header.model_version, header.id, tensors, read_parameters(header.parameters))


def written(header: Protobuf, entries: Any, tensors: Mapping[str, Encoded]) -> tuple[bytes, tuple[Buffer, ...]]:
    """Return the bytes of a header, after a description of each tensor was added to `entries`, and of the tensors."""
    for name, tensor in tensors.items():
        entry = entries.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        write_parameters(tensor.parameters, entry.parameters)
    return header.SerializeToString(), tuple(tensor.data for tensor in tensors.values())


def read_tensors(entries: Any, contents: tuple[Buffer, ...]) -> dict[str, Encoded]:
    """Return the tensors that a header describes by name. Raises DecodeError."""
    if len(entries) != len(contents) or len(entries) > MAX_TENSORS:
        raise DecodeError(
            f"The header describes {len(entries)} tensors, but {len(contents)} arrived; send the bytes of each, for at "
            f"most {MAX_TENSORS} tensors."
        )
    tensors = {
        entry.name: Encoded(entry.datatype, tuple(entry.shape), data, read_parameters(entry.parameters))
        for entry, data in zip(entries, contents, strict=True)
    }
    if len(tensors) != len(entries):
        raise DecodeError("Two tensors have the same name; give each its own.")
    return tensors


# The field of InferParameter for each type of value.
_FIELDS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def write_parameters(parameters: Mapping[str, Parameter], into: Any) -> None:
    """Write parameters into the field of a header."""
    for name, value in parameters.items():
        setattr(into[name], _FIELDS[type(value)], value)


def read_parameters(parameters: Any) -> dict[str, Parameter]:
    """Undo `write_parameters`."""
    chosen = ((name, value, value.WhichOneof("parameter_choice")) for name, value in parameters.items())
    return {name: getattr(value, field) for name, value, field in chosen if field}


def parse(kind: type[AnyProtobuf], message: Message) -> AnyProtobuf:
    """Return the header as a protobuf object of this class. Raises DecodeError."""
    if len(message.header) > MAX_HEADER_BYTES:
        raise DecodeError(f"A header of {len(message.header)} bytes exceeds the limit of {MAX_HEADER_BYTES}.")
    try:
        return kind.FromString(message.header)
    except ProtobufDecodeError:
        raise DecodeError(f"The header is not a {kind.DESCRIPTOR.name} message; see proto/README.md.") from None
