"""Where an attacker on a model's answers and weights is, and what it has there: each position gives a `ClassView`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from cutlayer.attacks.answers.view import ClassView, Reply, Service
from cutlayer.errors import ConfigError
from cutlayer.experiment.class_victim import ClassVictim


@dataclass(frozen=True)
class Position:
    """A place where an attacker is.

    Attributes:
        title: Name for a reader, with its article.
        plain_words: What the attacker is and has, for a reader who does not know the field: a whole sentence.
        grants: The most that it gets of the victim.
    """

    title: str
    plain_words: str
    grants: Reply


POSITIONS = {
    "outsider": Position(
        "an outsider", "It asks the whole service, as every client does, and holds nothing of the model.", Reply.SCORES
    ),
    "thief": Position(
        "a thief", "It holds a copy of the whole model, and asks that; the server is not involved.", Reply.WEIGHTS
    ),
}
"""The positions by name."""


@contextmanager
def seen_from(
    position: str,
    victim: ClassVictim,
    *,
    reply: Reply,
    targets: tuple[int, ...],
    budget: int | None = None,
    seed: int = 0,
    kept: dict[Any, Any] | None = None,
) -> Iterator[ClassView]:
    """What an attacker may touch, while the context lasts.

    Args:
        position: A name of `POSITIONS`.
        victim: The victim.
        reply: What the attacker gets, at most what the position grants.
        targets: The classes to represent.
        budget: Inputs that it may ask about; None for any number.
        seed: Seed of the attacker's own random choices.
        kept: What attackers with the same position and reply have kept for each other.

    Raises:
        ConfigError: The position does not grant the reply, or the server does not give it.
    """
    if reply > POSITIONS[position].grants:
        raise ConfigError(f"{POSITIONS[position].title} does not get the victim's {reply.label}.")
    theirs = position == "outsider"
    if theirs and victim.defense.label_only and reply > Reply.LABEL:
        raise ConfigError("The server replies with labels only.")
    rng = np.random.default_rng([seed, 1])

    def ask(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            scores = log_softmax(victim.model(inputs).float(), 1)
        return torch.from_numpy(victim.defense.answer(scores.numpy(), rng)) if theirs else scores

    yield ClassView(
        input=victim.data.input,
        classes=victim.classes,
        targets=targets,
        auxiliary=victim.data.auxiliary,
        reply=reply,
        seed=seed,
        _service=Service(ask, min(reply, Reply.SCORES), budget),
        _models=(victim.model,) if reply is Reply.WEIGHTS else (),
        _kept={} if kept is None else kept,
    )
