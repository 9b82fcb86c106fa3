"""Client for any server of the Open Inference Protocol that hosts an exported tail: Triton, OpenVINO and others.

Such a server does not know our parameters, codecs and versions. It receives a plain tensor under its own input name,
and its output is renamed to the name that the split uses. Only the shapes show whether it hosts the right model.
"""

from __future__ import annotations

from cutlayer.errors import ConfigError, DecodeError, SplitError
from cutlayer.wire import handshake, open_inference_pb2
from cutlayer.wire.address import Address
from cutlayer.wire.grpc.client import GrpcClient
from cutlayer.wire.message import Inference, Kind, Message, infer_reply, read_infer_reply, read_infer_request
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts


class OpenInferenceClient(GrpcClient):
    """The client's end; see `Line`. Each request is one call, because only Triton offers streams."""

    def __init__(self, address: Address, timeouts: Timeouts, security: Security) -> None:
        super().__init__(address, timeouts, security)
        # The server's names of input and output, for each model of a completed handshake.
        self._names: dict[str, tuple[str, str]] = {}

    def _request(self, message: Message, timeout_s: float) -> Message:
        return (self._handshake if message.kind is Kind.METADATA else self._infer)(message, timeout_s)

    def _handshake(self, message: Message, timeout_s: float) -> Message:
        wanted = handshake.read_metadata_request(message)
        model = self._address.model or wanted.name
        held = handshake.read_metadata_reply(self._call(handshake.metadata_request(model, ""), timeout_s))
        if len(held.inputs) != 1 or len(held.outputs) != 1:
            raise SplitError(
                f"{model} at {self._address} has {len(held.inputs)} inputs and {len(held.outputs)} outputs; "
                "the tail of a split model has one input and one output."
            )
        (input_name,), (output_name,) = held.inputs, held.outputs
        self._names[model] = input_name, output_name
        return handshake.metadata_reply(handshake.Metadata(wanted.name, wanted.versions, held.inputs, held.outputs))

    def _infer(self, message: Message, timeout_s: float) -> Message:
        inference = read_infer_request(message)
        smashed = inference.tensors["smashed"]
        if smashed.datatype != "FP32" or smashed.parameters.get("codec", "raw") != "raw":
            raise ConfigError("A server of another project takes plain FP32 tensors only; use --codec raw.")
        model = self._address.model or inference.model
        if model not in self._names:
            raise SplitError(
                f"The tensor names of {model} at {self._address} are unknown; complete the handshake first."
            )
        input_name, output_name = self._names[model]
        header = open_inference_pb2.ModelInferRequest(model_name=model, id=inference.id)
        header.inputs.add(name=input_name, datatype="FP32", shape=smashed.shape)
        reply = self._call(Message(Kind.INFER, header.SerializeToString(), (smashed.data,)), timeout_s)
        outputs = read_infer_reply(reply).tensors
        if output_name not in outputs:
            raise DecodeError(f"{self._address} answered {', '.join(outputs)!r:.80}, not {output_name!r}.")
        logits = {"logits": outputs[output_name]._replace(parameters={})}
        return infer_reply(Inference(inference.model, inference.version, inference.id, logits))
