"""The messages around inference: the handshake about the model, and the refusal of a request."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from cutlayer.errors import DecodeError, Refused
from cutlayer.wire import error_pb2, open_inference_pb2
from cutlayer.wire.message import Kind, Message, parse
from cutlayer.wire.protobuf import MAX_TENSORS

MOST_VERSIONS, MOST_AXES = 64, 16
"""Versions of a model, and axes of a tensor with its batch, that an answer to the handshake may describe."""


class Metadata(NamedTuple):
    """Description of the model that a server holds, or in a request the name and version that a client wants.

    Attributes:
        name: Name of the tail.
        versions: Versions that the server holds; in a request at most one.
        inputs: Datatype and shape of each input by name; the batch axis is -1.
        outputs: Datatype and shape of each output by name.
    """

    name: str
    versions: tuple[str, ...]
    inputs: Mapping[str, tuple[str, tuple[int, ...]]] = MappingProxyType({})
    outputs: Mapping[str, tuple[str, tuple[int, ...]]] = MappingProxyType({})


def metadata_request(model: str, version: str) -> Message:
    """Return the message that opens the handshake: it asks for a model and a version."""
    return Message(
        Kind.METADATA, open_inference_pb2.ModelMetadataRequest(name=model, version=version).SerializeToString()
    )


def read_metadata_request(message: Message) -> Metadata:
    """Return the model that a client asks for. Raises DecodeError."""
    header = parse(open_inference_pb2.ModelMetadataRequest, message)
    return Metadata(header.name, (header.version,) if header.version else ())


def metadata_reply(metadata: Metadata) -> Message:
    """Return the message that describes the model of a server."""
    header = open_inference_pb2.ModelMetadataResponse(
        name=metadata.name, versions=metadata.versions, platform="cutlayer"
    )
    for described, tensors in ((header.inputs, metadata.inputs), (header.outputs, metadata.outputs)):
        for name, (datatype, shape) in tensors.items():
            described.add(name=name, datatype=datatype, shape=shape)
    return Message(Kind.METADATA, header.SerializeToString())


def read_metadata_reply(message: Message) -> Metadata:
    """Undo `metadata_reply`. Raises DecodeError, also for more tensors, axes or versions than a model has."""
    header = parse(open_inference_pb2.ModelMetadataResponse, message)
    described = (*header.inputs, *header.outputs)
    if len(described) > 2 * MAX_TENSORS or len(header.versions) > MOST_VERSIONS:
        raise DecodeError(
            f"The server describes {len(described)} tensors and {len(header.versions)} versions of a model; at most "
            f"{2 * MAX_TENSORS} and {MOST_VERSIONS} are read."
        )
    for tensor in described:
        if len(tensor.shape) > MOST_AXES or not all(-1 <= length < 1 << 31 for length in tensor.shape):
            raise DecodeError(f"The server describes a tensor of {len(tensor.shape)} axes or of impossible lengths.")
    inputs, outputs = (
        {t.name: (t.datatype, tuple(t.shape)) for t in tensors} for tensors in (header.inputs, header.outputs)
    )
    return Metadata(header.name, tuple(header.versions), inputs, outputs)


def error_reply(refused: Refused) -> Message:
    """Return the message that refuses a request."""
    header = error_pb2.Error(code=refused.code, message=str(refused), retry_after_ms=refused.retry_after_ms)
    return Message(Kind.ERROR, header.SerializeToString())


def read_error_reply(message: Message) -> Refused:
    """Return the error to raise at the client. Raises DecodeError."""
    header = parse(error_pb2.Error, message)
    return Refused(header.code, header.message, header.retry_after_ms)
