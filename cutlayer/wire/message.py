"""What the two sides say to each other, and how that becomes bytes: one header, then the tensors' own bytes.

The header is a message of the Open Inference Protocol (`proto/cutlayer/wire/open_inference.proto`) without its raw
contents. A transport moves it and the tensors, and never looks inside.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message as Protobuf

from cutlayer.errors import DecodeError
from cutlayer.spec import Manifest
from cutlayer.wire import open_inference_pb2
from cutlayer.wire.codecs.base import MAX_TENSOR_BYTES, NO_PARAMETERS, Buffer, Encoded, Parameter
from cutlayer.wire.typed_contents import take_out

PROTOCOL = 1
"""Version of our own header fields, stated in each request under ``protocol``."""

MAX_HEADER_BYTES = 64 << 10
MAX_MESSAGE_BYTES = MAX_TENSOR_BYTES + MAX_HEADER_BYTES
MAX_TENSORS = 16
MAX_ID_BYTES = 127

_ID = b"\x1a"
"""The tag of the field `id`, 3, in both directions."""

_ID_OF_LENGTH = tuple(_ID + bytes((length,)) for length in range(MAX_ID_BYTES + 1))

DURATIONS = ("queue_ns", "decode_ns", "tail_ns", "reply_ns")
"""The server's own, as parameters of a reply."""

MOST_NS = 1 << 53
"""Of a duration; beyond it not every number is one of a double."""

AnyProtobuf = TypeVar("AnyProtobuf", bound=Protobuf)


class Kind(IntEnum):
    """What a message is about. A reply has the kind of its request, or ERROR."""

    ERROR = 0
    INFER = 1
    METADATA = 2


class Message(NamedTuple):
    """What a transport moves.

    Attributes:
        kind: What it is about.
        header: A serialized protobuf message without its raw contents.
        tensors: The bytes of each tensor that the header describes, in its order.
    """

    kind: Kind
    header: bytes
    tensors: tuple[Buffer, ...] = ()

    @property
    def nbytes(self) -> int:
        """Header and tensors, without the framing of the transport."""
        return len(self.header) + sum(map(len, self.tensors))


class Inference(NamedTuple):
    """A request for one inference, or the answer to it.

    Attributes:
        model: Name of the tail.
        version: Of the split that the sender holds.
        id: Chosen by the client, repeated in the answer.
        tensors: By name.
        parameters: In a request protocol, session and defense; in an answer the durations of the server.
    """

    model: str
    version: str
    id: str
    tensors: Mapping[str, Encoded]
    parameters: Mapping[str, Parameter] = NO_PARAMETERS


def tail_name(manifest: Manifest) -> str:
    """What the tail of a split is called on the wire: ``vgg11_bn@features.7``."""
    return f"{manifest.model}@{manifest.cut}"


def infer_request(inference: Inference) -> Message:
    """The message that asks for one inference."""
    header = open_inference_pb2.ModelInferRequest()
    return _pack_inference(inference, header, header.inputs)


def read_infer_request(message: Message) -> Inference:
    """What `infer_request` was given. Raises DecodeError."""
    message = _raw(message)
    header = parse(open_inference_pb2.ModelInferRequest, message)
    return _unpack_inference(header, header.inputs, message.tensors)


def infer_reply(inference: Inference) -> Message:
    """The message that answers a request."""
    header = open_inference_pb2.ModelInferResponse()
    return _pack_inference(inference, header, header.outputs)


def completed(prepared: Message, id: str, *tensors: Buffer) -> Message:
    """A request or a reply that was prepared without its id and the bytes of its tensors, with them.

    Protobuf reads what was written one after the other as one message, so what is the same for each request of a
    session need be written once.
    """
    name = id.encode()
    if len(name) > MAX_ID_BYTES:
        raise DecodeError(f"An id has at most {MAX_ID_BYTES} bytes, not {len(name)}.")
    return Message(prepared.kind, prepared.header + _ID_OF_LENGTH[len(name)] + name, tensors)


def _timed_parameter(name: str) -> bytes:
    """One of a reply's parameters, as protobuf writes it, up to the eight bytes of its double."""
    entry = b"\x0a%c%b\x12\x09\x21" % (len(name), name.encode())
    return b"\x22%c%b" % (len(entry) + 8, entry)


_Q, _D, _T, _R = map(_timed_parameter, DURATIONS)
_TIMED = struct.Struct("<" + "".join(f"{len(written)}sd" for written in (_Q, _D, _T, _R)))


def timed(reply: Message, queue_ns: int, decode_ns: int, tail_ns: int, reply_ns: int) -> Message:
    """The reply with its durations, which are known only once the rest is written."""
    added = _TIMED.pack(_Q, queue_ns, _D, decode_ns, _T, tail_ns, _R, reply_ns)
    return Message(reply.kind, reply.header + added, reply.tensors)


def read_timed(header: bytes, expected: bytes) -> tuple[int, int, int, int] | None:
    """The `DURATIONS` that `timed` added to the header expected; None when it is another, to be read as a whole."""
    if len(header) != len(expected) + _TIMED.size or not header.startswith(expected):
        return None
    q, queue_ns, d, decode_ns, t, tail_ns, r, reply_ns = _TIMED.unpack_from(header, len(expected))
    if not (q == _Q and d == _D and t == _T and r == _R):
        return None
    if not (
        0 <= queue_ns < MOST_NS and 0 <= decode_ns < MOST_NS and 0 <= tail_ns < MOST_NS and 0 <= reply_ns < MOST_NS
    ):
        return None
    return int(queue_ns), int(decode_ns), int(tail_ns), int(reply_ns)


def without_id(request: Message) -> tuple[Message, str] | None:
    """Undo `completed` for a request; None when it does not end in an id, and must be read as a whole."""
    header = request.header
    size = at = len(header)
    earliest = max(0, size - 2 - MAX_ID_BYTES)
    while (at := header.rfind(_ID, earliest, at)) >= 0:
        if at + 1 < size and header[at + 1] == size - at - 2:
            with contextlib.suppress(UnicodeDecodeError):
                return Message(request.kind, header[:at], request.tensors), header[at + 2 :].decode()
    return None


def read_infer_reply(message: Message) -> Inference:
    """What `infer_reply` was given. Raises DecodeError."""
    message = _raw(message)
    header = parse(open_inference_pb2.ModelInferResponse, message)
    return _unpack_inference(header, header.outputs, message.tensors)


def _raw(message: Message) -> Message:
    """The message with its tensors' bytes beside the header, where others may have written them into it."""
    return message if message.tensors else Message(message.kind, *take_out(message.header))


def _pack_inference(inference: Inference, header: Any, described: Any) -> Message:
    header.model_name, header.model_version, header.id = inference.model, inference.version, inference.id
    _pack_parameters(inference.parameters, header.parameters)
    for name, tensor in inference.tensors.items():
        entry = described.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        _pack_parameters(tensor.parameters, entry.parameters)
    return Message(Kind.INFER, header.SerializeToString(), tuple(t.data for t in inference.tensors.values()))


def _unpack_inference(header: Any, described: Iterable[Any], contents: tuple[Buffer, ...]) -> Inference:
    entries = list(described)
    if len(entries) != len(contents) or len(entries) > MAX_TENSORS:
        raise DecodeError(
            f"The header describes {len(entries)} tensors and {len(contents)} came; "
            f"send the contents of each, at most {MAX_TENSORS} of them."
        )
    tensors = {
        entry.name: Encoded(entry.datatype, tuple(entry.shape), data, _unpack_parameters(entry.parameters))
        for entry, data in zip(entries, contents, strict=True)
    }
    if len(header.id.encode()) > MAX_ID_BYTES:
        raise DecodeError(f"An id has at most {MAX_ID_BYTES} bytes.")
    if len(tensors) != len(entries):
        raise DecodeError("Two tensors have one name.")
    return Inference(header.model_name, header.model_version, header.id, tensors, _unpack_parameters(header.parameters))


# The field of InferParameter for each type of value, and bool before int, for a bool is an int.
_FIELDS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def _pack_parameters(parameters: Mapping[str, Parameter], into: Any) -> None:
    for name, value in parameters.items():
        setattr(into[name], _FIELDS[type(value)], value)


def _unpack_parameters(parameters: Any) -> dict[str, Parameter]:
    chosen = ((name, value, value.WhichOneof("parameter_choice")) for name, value in parameters.items())
    return {name: getattr(value, field) for name, value, field in chosen if field}


def parse(kind: type[AnyProtobuf], message: Message) -> AnyProtobuf:
    """The header as a protobuf object of this class. Raises DecodeError."""
    if len(message.header) > MAX_HEADER_BYTES:
        raise DecodeError(f"A header of {len(message.header)} bytes is beyond the limit of {MAX_HEADER_BYTES}.")
    try:
        return kind.FromString(message.header)
    except ProtobufDecodeError:
        raise DecodeError(f"The header is no {kind.DESCRIPTOR.name} message; see proto/README.md.") from None
