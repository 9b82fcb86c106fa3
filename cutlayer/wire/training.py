"""The messages of training: what a client asks, what the server replies, and weights as one tensor.

Their headers are messages of `proto/cutlayer/wire/training.proto` without the raw contents. A client asks and the
server answers; the server never calls a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from cutlayer.errors import DecodeError
from cutlayer.wire import training_pb2
from cutlayer.wire.codecs.base import MAX_TENSOR_BYTES, NO_PARAMETERS, Encoded, Parameter, as_array
from cutlayer.wire.message import Kind, Message, parse, read_parameters, read_tensors, write_parameters, written

SERVICE = "cutlayer.training.v1.Training"

MAX_SESSION = 128
"""Longest name of a session, in characters."""

MOST_STEPS = 1 << 53
"""Limit of the number of an ask in its session."""

WINDOW = 16
"""Most asks of one session without a reply."""

READER = 1 << 40
"""Numbers from here on are of sessions that only ask for the plan; no client has one."""

SECRET, CLIENT = "secret", "client"
"""Parameters of an ask: what proves whose the session is, in all of them, and in OPEN the number of the client."""

WAIT, ROUND = "wait", "round"
"""Parameters of a reply: a sentence on who is waited for, after which the client asks the same again; and in that to
OPEN the number of finished rounds, from which the client goes on."""

NO_TENSORS: Mapping[str, Encoded] = {}


class Call(IntEnum):
    """What a client asks; the kind of its message."""

    OPEN = Kind.OPEN
    TURN = Kind.TURN
    STEP = Kind.STEP
    AGGREGATE = Kind.AGGREGATE
    EVALUATE = Kind.EVALUATE
    CHECKPOINT = Kind.CHECKPOINT
    CLOSE = Kind.CLOSE


CALLS = {Kind(call): call for call in Call}
"""The kinds of messages that are of training, and what each asks."""


class Ask(NamedTuple):
    """What a client asks.

    Attributes:
        call: What it asks.
        session: Name of the client's session.
        step: Number of the ask in its session: 0, 1, 2 and so on. A repeated ask has the number that it had.
        parameters: Further words and numbers.
        tensors: Tensors by name.
        answered: The replies to all asks with lower numbers have come; the server forgets them.
    """

    call: Call
    session: str
    step: int
    parameters: Mapping[str, Parameter] = NO_PARAMETERS
    tensors: Mapping[str, Encoded] = NO_TENSORS
    answered: int = 0


class Reply(NamedTuple):
    """The answer to an ask.

    Attributes:
        step: Number of the ask.
        parameters: Words and numbers. One with `WAIT` is no answer yet.
        tensors: Tensors by name.
    """

    step: int
    parameters: Mapping[str, Parameter] = NO_PARAMETERS
    tensors: Mapping[str, Encoded] = NO_TENSORS


def ask_message(ask: Ask) -> Message:
    """Return the message that asks."""
    header = training_pb2.Ask(session=ask.session, step=ask.step, answered=ask.answered)
    write_parameters(ask.parameters, header.parameters)
    return Message(Kind(ask.call), *written(header, header.tensors, ask.tensors))


def read_ask(message: Message) -> Ask:
    """Undo `ask_message`. Raises DecodeError."""
    if message.kind not in CALLS:
        raise DecodeError(f"A message of kind {message.kind.name} asks nothing of a training server.")
    header = parse(training_pb2.Ask, message)
    if not 0 < len(header.session) <= MAX_SESSION:
        raise DecodeError(f"The name of a session has 1 to {MAX_SESSION} characters, not {len(header.session)}.")
    if header.step >= MOST_STEPS:
        raise DecodeError(f"The number of a step is less than {MOST_STEPS}, not {header.step}.")
    tensors = read_tensors(header.tensors, message.tensors)
    parameters = read_parameters(header.parameters)
    return Ask(CALLS[message.kind], header.session, header.step, parameters, tensors, header.answered)


def reply_message(reply: Reply, call: Call) -> Message:
    """Return the message that answers an ask."""
    header = training_pb2.Reply(step=reply.step)
    write_parameters(reply.parameters, header.parameters)
    return Message(Kind(call), *written(header, header.tensors, reply.tensors))


def read_reply(message: Message) -> Reply:
    """Undo `reply_message`. Raises DecodeError."""
    header = parse(training_pb2.Reply, message)
    tensors = read_tensors(header.tensors, message.tensors)
    return Reply(header.step, read_parameters(header.parameters), tensors)


def packed(state: Mapping[str, Any]) -> Encoded:
    """Return weights as one tensor: the bytes of a safetensors file.

    Args:
        state: Tensors of torch by name. Values that share memory are written once for each name.

    Raises:
        DecodeError: They are more than one message holds.
    """
    from safetensors.torch import save

    data = save(unshared(state))
    if len(data) > MAX_TENSOR_BYTES:
        raise DecodeError(f"Weights of {len(data):,} bytes exceed the limit of {MAX_TENSOR_BYTES:,} of one message.")
    return Encoded("UINT8", (len(data),), data, {"codec": "raw"})


def unshared(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors of torch as safetensors takes them: on the CPU, contiguous, each in memory of its own."""
    seen: set[int] = set()
    own = {}
    for name, value in state.items():
        tensor = value.detach().cpu().contiguous()
        if (memory := tensor.untyped_storage().data_ptr()) in seen:
            tensor = tensor.clone()
        seen.add(memory)
        own[name] = tensor
    return own


def unpacked(encoded: Encoded) -> dict[str, Any]:
    """Undo `packed`: return tensors of torch by name, which share no memory with the message.

    Raises:
        DecodeError: The bytes are not those of a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if encoded.parameters.get("codec", "raw") != "raw" or len(encoded.shape) != 1:
        raise DecodeError("Weights are one UINT8 tensor of one dimension with the codec raw.")
    data = np.asarray(as_array(encoded, "UINT8")).tobytes()
    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise DecodeError(f"The weights are not a safetensors file: {error!s:.200}") from None
