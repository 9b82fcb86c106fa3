"""Base of the attacks on updates, which rebuild the inputs that a gradient or a change of weights was computed from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.errors import DataError


class Recovered(NamedTuple):
    """What an attack makes of one update; the order of its samples says nothing.

    Attributes:
        inputs: ``(B, *input.shape)`` in the range of the inputs, float32, or int64 of sentences; B is the number of
            samples of the update.
        labels: ``(B,)`` int64: the class of each; None where the attack finds none.
    """

    inputs: Tensor
    labels: Tensor | None = None


@dataclass(kw_only=True)
class UpdateAttack(ABC):
    """Base of the attacks on updates; a subclass is a dataclass whose fields are its options."""

    plain_words: ClassVar[str]
    """What the attack does, for a reader who does not know the field: a clause that begins with a verb."""

    active: ClassVar[bool] = False
    """Whether the attacker changes the model that it sends to the clients."""

    def broadcast(self, view: UpdateView, model: nn.Module) -> nn.Module:
        """The model that the server sends to the clients; an active attacker returns another one than it was given."""
        return model

    @abstractmethod
    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """Rebuild the inputs of each update. The updates may be of different models and numbers of samples.

        Raises:
            ConfigError: The attack cannot be run on such updates; the message says why and what it takes.
            DataError: An update is damaged, or of another architecture; see `checked`.
            WithheldError: The view withholds what the attack needs.
        """


def checked(observation: Observation) -> Observation:
    """The same observation, whose update has the names and shapes of its model's parameters, and only finite numbers.

    Raises:
        DataError: It has not; the message names the first difference.
    """
    expected = {name: tuple(p.shape) for name, p in observation.model.named_parameters()}
    found = {name: tuple(value.shape) for name, value in observation.update.items()}
    if strange := sorted(found.keys() - expected.keys()):
        raise DataError(f"The update is of another architecture: the model has no parameter {strange[0]!r}.")
    if missing := sorted(expected.keys() - found.keys()):
        raise DataError(f"The update is of another architecture: it lacks the parameter {missing[0]!r}.")
    for name, shape in expected.items():
        if found[name] != shape:
            raise DataError(
                f"The update is of another architecture: {name} has the shape {found[name]}, and {shape} in the model."
            )
        if not observation.update[name].isfinite().all():
            raise DataError(f"The update holds NaN or infinity in {name}; leave it out.")
    return observation
