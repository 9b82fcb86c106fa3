"""Secure aggregation in a training: what a client sends in place of its weights, and what the server makes of the sum.

With each turn a client makes new keys and sends the public one; the server answers with those of all clients of the
round, once all are there. So nothing of it has to be kept, and a round that is trained again after an interruption has
other masks and the same sum. A client multiplies its weights by its share of the samples of the round, so that the sum
is the mean. What counts batches is no secret, and is sent as it is: the server knows the number of steps anyway.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cutlayer.defenses.updates.fixed import decoded, encoded, limit
from cutlayer.defenses.updates.secure_aggregation import Keys, masked
from cutlayer.errors import DecodeError
from cutlayer.protocols.plan import Masking, TrainingPlan
from cutlayer.protocols.schedule import chosen
from cutlayer.wire.codecs.base import Encoded, as_array
from cutlayer.wire.training import Reply

KEY_BYTES = 32
"""Length of a public key."""


def announced(public: bytes) -> Encoded:
    """A client's public key, for TURN."""
    return Encoded("UINT8", (KEY_BYTES,), public, {"codec": "raw"})


def key(encoded: Encoded) -> bytes:
    """Undo `announced`. Raises DecodeError."""
    public = np.asarray(as_array(encoded, "UINT8")).tobytes()
    if len(public) != KEY_BYTES:
        raise DecodeError(f"A public key has {KEY_BYTES} bytes, not {len(public)}.")
    return public


def roster(keys: Mapping[int, bytes]) -> Encoded:
    """The public keys of all clients of a round, for the reply to TURN, in ascending order of the clients."""
    data = b"".join(keys[client] for client in sorted(keys))
    return Encoded("UINT8", (len(keys), KEY_BYTES), data, {"codec": "raw"})


def hidden(
    plan: TrainingPlan, round: int, client: int, keys: Keys, turn: Reply, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What a client delivers: its share of its weights in fixed point, int32, behind the masks of the round.

    Raises:
        DecodeError: The server's reply to TURN does not name the keys of the clients of the round, with that of this
            client among them, or a share.
        OutOfRange: A weight is NaN, or too great to be summed.
    """
    if "keys" not in turn.tensors:
        raise DecodeError("The server sent no keys of the other clients; does it know secure_aggregation?")
    clients, rows = chosen(plan, round), np.asarray(as_array(turn.tensors["keys"], "UINT8"))
    if rows.shape != (len(clients), KEY_BYTES):
        raise DecodeError(f"The server's keys are not those of the {len(clients)} clients of round {round}.")
    public = {other: row.tobytes() for other, row in zip(clients, rows, strict=True)}
    if len(set(public.values())) < len(public) or public[client] != keys.public:
        raise DecodeError("The server hands out a key twice, or another one as that of this client.")
    share = turn.parameters.get("share")
    if not isinstance(share, float) or not 0 < share <= 1:
        raise DecodeError("The server sent no share of this client in the mean, a number above 0 and at most 1.")
    bits = _options(plan).bits
    words = {
        name: encoded(value, bits, limit(bits), share, name)
        for name, value in weights.items()
        if value.is_floating_point()
    }
    sent = masked(words, client, keys, public, f"{plan.id} {round}".encode(), _options(plan).peers)
    return {name: torch.from_numpy(sent[name].view(np.int32)) if name in sent else v for name, v in weights.items()}


def forms(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with the shapes and types of what `hidden` makes of weights."""
    return {name: value.to(torch.int32) if value.is_floating_point() else value for name, value in weights.items()}


def mean(plan: TrainingPlan, sent: Mapping[int, Mapping[str, Tensor]], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of the clients' weights, from what all clients of a round have delivered.

    Args:
        plan: The plan.
        sent: What each has delivered.
        like: Weights with the right types.
    """

    def of(name: str) -> Tensor:
        values = [of_client[name] for of_client in sent.values()]
        if not like[name].is_floating_point():
            return torch.stack(values).amax(0)
        words = sum((value.numpy().view(np.uint32) for value in values), np.zeros(1, np.uint32))
        return torch.from_numpy(decoded(words.reshape(like[name].shape), _options(plan).bits)).to(like[name].dtype)

    return {name: of(name) for name in like}


def _options(plan: TrainingPlan) -> Masking:
    assert plan.secure_aggregation is not None
    return plan.secure_aggregation
