"""What a server's answer has to be before the device believes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from cutlayer.errors import DecodeError, SplitError
from cutlayer.wire.codecs.base import Parameter
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.handshake import read_metadata_reply
from cutlayer.wire.message import Message, read_infer_reply
from cutlayer.wire.template import DURATIONS, MOST_NS

Durations = tuple[int, int, int, int]


def read_whole(message: Message, request_id: str, shape: tuple[int, ...]) -> tuple[NDArray[Any], Durations]:
    """Logits of this shape and the server's durations, from any answer to the request of that id."""
    reply = read_infer_reply(message)
    if reply.id != request_id or list(reply.tensors) != ["logits"]:
        raise DecodeError(f"The server answered {reply.id!r:.40}, not {request_id!r}.")
    logits = reply.tensors["logits"]
    if logits.shape != shape:
        raise DecodeError(f"The server answered logits of shape {logits.shape}, not {shape}.")
    queue_ns, decode_ns, tail_ns, reply_ns = (_duration(reply.parameters.get(name, 0)) for name in DURATIONS)
    return decode(logits), (queue_ns, decode_ns, tail_ns, reply_ns)


def check_metadata(reply: Message, model: str, version: str, smashed: tuple[int, ...], logits: tuple[int, ...]) -> None:
    """Refuse a server of another split, as its answer to the handshake tells; shapes are those of one sample."""
    held = read_metadata_reply(reply)
    if held.name != model or version not in held.versions:
        raise different(f"The server holds {held.name} {', '.join(held.versions)}, not {model} {version}.")
    # One that knows no versions of ours may still have a model of other tensors.
    _check_shapes("takes", held.inputs, smashed)
    _check_shapes("gives", held.outputs, logits)


def different(why: str) -> SplitError:
    """The error of a device whose server has another split."""
    return SplitError(f"The two sides hold different splits; copy one folder to both. {why}")


def _check_shapes(verb: str, tensors: Mapping[str, tuple[str, tuple[int, ...]]], expected: tuple[int, ...]) -> None:
    for datatype, shape in tensors.values():
        fits = len(shape) == 1 + len(expected) and all(
            size in (-1, wanted) for size, wanted in zip(shape[1:], expected, strict=True)
        )
        if datatype != "FP32" or not fits:
            here = "x".join(map(str, expected))
            raise SplitError(
                f"The server's model {verb} {datatype} of shape {'x'.join(map(str, shape))}, this split's tail {verb} "
                f"FP32 of shape Nx{here}."
            )


def _duration(value: Parameter) -> int:
    if isinstance(value, (bool, str)) or not 0 <= value < MOST_NS:
        raise DecodeError(f"{value!r:.40} is no duration.")
    return int(value)
