"""What is the same for all requests of a device: written once, and its answers checked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cutlayer.wire.codecs.base import Buffer, Encoded, Parameter
from cutlayer.wire.codecs.packed import decoder
from cutlayer.wire.message import Inference, Message, infer_reply, infer_request
from cutlayer.wire.template import read_timed
from edge.exchange import Durations, read_whole


class Prepared(NamedTuple):
    """What is the same for all requests with smashed data of one description.

    Attributes:
        smashed: The description, without bytes.
        request: Without id and bytes.
        logits: Shape of the answer.
        reply: The answer without id, bytes and durations.
        decode_logits: From the answer's bytes to the logits. Raises DecodeError.
    """

    smashed: Encoded
    request: Message
    logits: tuple[int, ...]
    reply: Message
    decode_logits: Callable[[Buffer], NDArray[Any]]

    def fits(self, encoded: Encoded) -> bool:
        """Whether this is for tensors that are described like that one."""
        known = self.smashed
        return (
            encoded.shape == known.shape
            and encoded.datatype == known.datatype
            and encoded.parameters == known.parameters
        )

    def read(self, message: Message, request: Message) -> tuple[NDArray[Any], Durations]:
        """Logits and the server's durations, from the answer to the request.

        Raises:
            DecodeError: It is no answer to this request.
        """
        ending = request.header[len(self.request.header) :]
        durations = read_timed(message.header, self.reply.header + ending)
        if durations is not None and len(message.tensors) == 1:
            return self.decode_logits(message.tensors[0]), durations
        return read_whole(message, ending[2:].decode(), self.logits)


def prepare(encoded: Encoded, model: str, version: str, classes: int, parameters: Mapping[str, Parameter]) -> Prepared:
    """All of request and answer but what changes from one to the next.

    Args:
        encoded: Smashed data of one batch.
        model: Name of the tail.
        version: Of the split.
        classes: Logits of a sample.
        parameters: Of each request.
    """
    smashed = encoded._replace(data=b"")
    request = Inference(model, version, "", {"smashed": smashed}, parameters)
    logits = Encoded("FP32", (*encoded.shape[:1], classes), b"", {"codec": "raw"})
    reply = Inference(model, version, "", {"logits": logits})
    return Prepared(smashed, infer_request(request), logits.shape, infer_reply(reply), decoder(logits))
