"""A request and its answer on the device: written from a template, and checked before the logits are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cutlayer.errors import DecodeError, SplitError
from cutlayer.wire.codecs.base import Buffer, Encoded, Parameter
from cutlayer.wire.codecs.packed import decode, decoder
from cutlayer.wire.handshake import read_metadata_reply
from cutlayer.wire.message import Inference, Message, infer_reply, infer_request, read_infer_reply
from cutlayer.wire.template import DURATIONS, MOST_NS, read_timed

Durations = tuple[int, int, int, int]


class Template(NamedTuple):
    """The parts that all requests share whose smashed data has the same description.

    Attributes:
        smashed: Description of the smashed data, without bytes.
        request: The request without id and bytes.
        logits: Shape of the answer.
        reply: The answer without id, bytes and durations.
        decode_logits: Function from the answer's bytes to the logits. Raises DecodeError.
    """

    smashed: Encoded
    request: Message
    logits: tuple[int, ...]
    reply: Message
    decode_logits: Callable[[Buffer], NDArray[Any]]

    def fits(self, encoded: Encoded) -> bool:
        """Return whether smashed data has the description of this template."""
        known = self.smashed
        return (
            encoded.shape == known.shape
            and encoded.datatype == known.datatype
            and encoded.parameters == known.parameters
        )

    def read(self, message: Message, request: Message) -> tuple[NDArray[Any], Durations]:
        """Return the logits and the server's durations from the answer to a request.

        Raises:
            DecodeError: The message is not an answer to this request.
        """
        ending = request.header[len(self.request.header) :]
        durations = read_timed(message.header, self.reply.header + ending)
        if durations is not None and len(message.tensors) == 1:
            return self.decode_logits(message.tensors[0]), durations
        return read_answer(message, ending[2:].decode(), self.logits)


def template(encoded: Encoded, model: str, version: str, classes: int, parameters: Mapping[str, Parameter]) -> Template:
    """Return the template of the requests with smashed data like this. All of them have these parameters."""
    smashed = encoded._replace(data=b"")
    request = Inference(model, version, "", {"smashed": smashed}, parameters)
    logits = Encoded("FP32", (*encoded.shape[:1], classes), b"", {"codec": "raw"})
    reply = Inference(model, version, "", {"logits": logits})
    return Template(smashed, infer_request(request), logits.shape, infer_reply(reply), decoder(logits))


def read_answer(message: Message, request_id: str, shape: tuple[int, ...]) -> tuple[NDArray[Any], Durations]:
    """Return logits of this shape and the server's durations, from any answer to the request with that id."""
    reply = read_infer_reply(message)
    if reply.id != request_id or list(reply.tensors) != ["logits"]:
        raise DecodeError(f"The server answered {reply.id!r:.40}, not {request_id!r}.")
    logits = reply.tensors["logits"]
    if logits.shape != shape:
        raise DecodeError(f"The server answered logits of shape {logits.shape}, not {shape}.")
    queue_ns, decode_ns, tail_ns, reply_ns = (_duration(reply.parameters.get(name, 0)) for name in DURATIONS)
    return decode(logits), (queue_ns, decode_ns, tail_ns, reply_ns)


def check_metadata(reply: Message, model: str, version: str, smashed: tuple[int, ...], logits: tuple[int, ...]) -> None:
    """Refuse a server of another split, from its answer to the handshake. Shapes are those of one sample."""
    held = read_metadata_reply(reply)
    if held.name != model or version not in held.versions:
        raise different_split(f"The server holds {held.name} {', '.join(held.versions)}, not {model} {version}.")
    # A server of another project knows no versions of ours, and may hold a model with other tensors.
    _check_shapes("takes", held.inputs, smashed)
    _check_shapes("gives", held.outputs, logits)


def different_split(reason: str) -> SplitError:
    """Return the error of a device whose server holds another split."""
    return SplitError(f"The two sides hold different splits; copy one folder to both. {reason}")


def _check_shapes(verb: str, tensors: Mapping[str, tuple[str, tuple[int, ...]]], expected: tuple[int, ...]) -> None:
    for datatype, shape in tensors.values():
        fits = len(shape) == 1 + len(expected) and all(
            size in (-1, wanted) for size, wanted in zip(shape[1:], expected, strict=True)
        )
        if datatype != "FP32" or not fits:
            here = "x".join(map(str, expected))
            raise SplitError(
                f"The server's model {verb} {datatype} of shape {'x'.join(map(str, shape))}, but this split's tail "
                f"{verb} FP32 of shape Nx{here}; copy one folder to both sides."
            )


def _duration(value: Parameter) -> int:
    if isinstance(value, (bool, str)) or not 0 <= value < MOST_NS:
        raise DecodeError(f"{value!r:.40} is not a duration.")
    return int(value)
