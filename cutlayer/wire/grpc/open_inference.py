"""Asking any server of the Open Inference Protocol that hosts an exported tail, be it Triton, OpenVINO or another.

Such a server knows none of our parameters, codecs and versions: it gets a plain tensor under the names that it uses
itself, and its answer is given those that the split uses. Whether it hosts the right model shows in the shapes alone.
"""

from __future__ import annotations

from typing import NoReturn

import grpc

from cutlayer.errors import ConfigError, DecodeError, SplitError
from cutlayer.wire import open_inference_pb2
from cutlayer.wire.address import Address
from cutlayer.wire.grpc.client import Grpc
from cutlayer.wire.grpc.frames import PATHS, RAW_INPUT_CONTENTS, RAW_OUTPUT_CONTENTS
from cutlayer.wire.handshake import (
    Metadata,
    metadata_reply,
    metadata_request,
    read_metadata_reply,
    read_metadata_request,
)
from cutlayer.wire.message import Inference, Kind, Message, infer_reply, read_infer_reply, read_infer_request
from cutlayer.wire.protobuf import join, split
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Handler, Timeouts


class OpenInference(Grpc):
    """The client's end; see `Line`. Each request is a call, for streams are Triton's alone."""

    def __init__(self, address: Address, timeouts: Timeouts, security: Security) -> None:
        super().__init__(address, timeouts, security)
        # What the server calls the input and the output of each model that a session has shaken hands about.
        self._names: dict[str, tuple[str, str]] = {}
        self._calls = {kind: self._channel.unary_unary(path) for kind, path in PATHS.items()}

    @staticmethod
    def listen(address: Address, handler: Handler, timeouts: Timeouts, security: Security) -> NoReturn:
        """There is none: what listens at ``grpc://`` is a server of this protocol."""
        raise ConfigError(f"A server listens at grpc://, and clients of the protocol find it there; not at {address}.")

    def _request(self, message: Message, timeout_s: float) -> Message:
        if not self._connected:
            self._connect(timeout_s)
        return (self._handshake if message.kind is Kind.METADATA else self._infer)(message, timeout_s)

    def _handshake(self, message: Message, timeout_s: float) -> Message:
        asked = read_metadata_request(message)
        model = self._address.model or asked.name
        held = read_metadata_reply(self._ask(metadata_request(model, ""), timeout_s))
        if len(held.inputs) != 1 or len(held.outputs) != 1:
            raise SplitError(
                f"{model} at {self._address} has {len(held.inputs)} inputs and {len(held.outputs)} outputs; "
                "the tail of a split model has one of each."
            )
        (given,), (wanted,) = held.inputs, held.outputs
        self._names[model] = given, wanted
        return metadata_reply(Metadata(asked.name, asked.versions, held.inputs, held.outputs))

    def _infer(self, message: Message, timeout_s: float) -> Message:
        inference = read_infer_request(message)
        smashed = inference.tensors["smashed"]
        if smashed.datatype != "FP32" or smashed.parameters.get("codec", "raw") != "raw":
            raise ConfigError("A server that is not ours takes plain tensors; send them with the codec raw.")
        model = self._address.model or inference.model
        if model not in self._names:
            raise SplitError(f"Shake hands with {self._address} before asking: its names for {model} are not known.")
        given, wanted = self._names[model]
        header = open_inference_pb2.ModelInferRequest(model_name=model, id=inference.id)
        header.inputs.add(name=given, datatype="FP32", shape=smashed.shape)
        reply = self._ask(Message(Kind.INFER, header.SerializeToString(), (smashed.data,)), timeout_s)
        outputs = read_infer_reply(reply).tensors
        if wanted not in outputs:
            raise DecodeError(f"{self._address} answered {', '.join(outputs)!r:.80}, not {wanted!r}.")
        logits = {"logits": outputs[wanted]._replace(parameters={})}
        return infer_reply(Inference(inference.model, inference.version, inference.id, logits))

    def _ask(self, message: Message, timeout_s: float) -> Message:
        data = join(message.header, message.tensors, RAW_INPUT_CONTENTS)
        try:
            reply = self._calls[message.kind](data, timeout=timeout_s, metadata=self._token)
        except grpc.RpcError as error:
            raise self._error(error, timeout_s) from None
        return Message(message.kind, *split(reply, RAW_OUTPUT_CONTENTS))
