"""The messages around inference: which model a server holds, and why it does not answer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from cutlayer.errors import Refused
from cutlayer.wire import error_pb2, open_inference_pb2
from cutlayer.wire.message import Kind, Message, parse


class Metadata(NamedTuple):
    """A model that a server holds; in a request, with the name and at most one version, the one asked for.

    Attributes:
        name: Of the tail.
        versions: Those held.
        inputs: Name to data type and shape, the batch axis being -1.
        outputs: The same of what comes back.
    """

    name: str
    versions: tuple[str, ...]
    inputs: Mapping[str, tuple[str, tuple[int, ...]]] = MappingProxyType({})
    outputs: Mapping[str, tuple[str, tuple[int, ...]]] = MappingProxyType({})


def metadata_request(model: str, version: str) -> Message:
    """The message that asks which model a server holds: the handshake."""
    return Message(
        Kind.METADATA, open_inference_pb2.ModelMetadataRequest(name=model, version=version).SerializeToString()
    )


def read_metadata_request(message: Message) -> Metadata:
    """The model asked for. Raises DecodeError."""
    header = parse(open_inference_pb2.ModelMetadataRequest, message)
    return Metadata(header.name, (header.version,) if header.version else ())


def metadata_reply(metadata: Metadata) -> Message:
    """The message that says which model a server holds."""
    header = open_inference_pb2.ModelMetadataResponse(
        name=metadata.name, versions=metadata.versions, platform="cutlayer"
    )
    for described, tensors in ((header.inputs, metadata.inputs), (header.outputs, metadata.outputs)):
        for name, (datatype, shape) in tensors.items():
            described.add(name=name, datatype=datatype, shape=shape)
    return Message(Kind.METADATA, header.SerializeToString())


def read_metadata_reply(message: Message) -> Metadata:
    """What `metadata_reply` was given. Raises DecodeError."""
    header = parse(open_inference_pb2.ModelMetadataResponse, message)
    inputs, outputs = (
        {t.name: (t.datatype, tuple(t.shape)) for t in tensors} for tensors in (header.inputs, header.outputs)
    )
    return Metadata(header.name, tuple(header.versions), inputs, outputs)


def error_reply(refused: Refused) -> Message:
    """The message that says why a request is not answered."""
    header = error_pb2.Error(code=refused.code, message=str(refused), retry_after_ms=refused.retry_after_ms)
    return Message(Kind.ERROR, header.SerializeToString())


def read_error_reply(message: Message) -> Refused:
    """The error to raise at the client. Raises DecodeError."""
    header = parse(error_pb2.Error, message)
    return Refused(header.code, header.message, header.retry_after_ms)
