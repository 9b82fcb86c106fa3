"""What both ends of the gRPC transport share: method paths, limits, and the messages of a stream."""

from __future__ import annotations

from cutlayer.errors import DecodeError, Refused
from cutlayer.wire import training
from cutlayer.wire.message import MAX_MESSAGE_BYTES, Kind, Message, parse
from cutlayer.wire.open_inference_pb2 import ModelStreamInferResponse
from cutlayer.wire.protobuf import join, split, varint

SERVICE = "inference.GRPCInferenceService"
PATHS = {Kind.INFER: f"/{SERVICE}/ModelInfer", Kind.METADATA: f"/{SERVICE}/ModelMetadata"} | {
    kind: f"/{training.SERVICE}/{call.name.capitalize()}" for kind, call in training.CALLS.items()
}
"""The method for each kind of message."""

LIVE = f"/{SERVICE}/ServerLive"
STREAM = f"/{SERVICE}/ModelStreamInfer"

RAW_INPUT_CONTENTS, RAW_OUTPUT_CONTENTS = 7, 6
"""Numbers of the fields with the bytes of tensors, in every request and in every answer."""

LIMITS = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]

RETRY_AFTER = "retry-after-ms"
"""Trailing metadata of a refusal: milliseconds until a retry."""

CODE, RETRY_AFTER_MS = "code", "retry_after_ms"
"""Parameters of a refusal in a stream: the stream continues, so there is no status to carry them."""

_INFER_RESPONSE = 2


def stream_answer(reply: Message | Refused, request_id: str) -> bytes:
    """Return one message of the server's side of a stream."""
    if isinstance(reply, Refused):
        refused = ModelStreamInferResponse(error_message=str(reply))
        refused.infer_response.id = request_id
        refused.infer_response.parameters[CODE].string_param = reply.code
        if reply.retry_after_ms:
            refused.infer_response.parameters[RETRY_AFTER_MS].int64_param = reply.retry_after_ms
        return refused.SerializeToString()
    data = join(reply.header, reply.tensors, RAW_OUTPUT_CONTENTS)
    return b"".join((bytes((_INFER_RESPONSE << 3 | 2,)), varint(len(data)), data))


def read_stream_answer(data: bytes) -> tuple[str, Message | Refused]:
    """Return the id of the answered request, and the answer.

    Raises:
        DecodeError: The bytes are not a message of a stream.
    """
    rest, responses, _ = split(data, _INFER_RESPONSE)
    if rest or len(responses) != 1:
        refused = parse(ModelStreamInferResponse, Message(Kind.ERROR, data))
        if not refused.error_message:
            raise DecodeError("A message of the stream is neither an answer nor an error.")
        parameters = refused.infer_response.parameters
        return refused.infer_response.id, Refused(
            parameters[CODE].string_param or "UNKNOWN",
            refused.error_message,
            max(0, parameters[RETRY_AFTER_MS].int64_param),
        )
    header, tensors, request_id = split(responses[0], RAW_OUTPUT_CONTENTS)
    return request_id, Message(Kind.INFER, header, tensors)
