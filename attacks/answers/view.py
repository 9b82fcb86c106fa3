"""What an attacker who asks a model, or holds it, may touch, and the service that it asks.

The secret is what the samples of each class in the victim's training part look like; no input of a victim is observed.
As with `cutlayer.attacks.view.View`, the threat model is an object with missing parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError, WithheldError, near
from cutlayer.spec import TensorSpec

T = TypeVar("T")
CPU = torch.device("cpu")

BATCH = 256
"""Inputs in one request."""


class Reply(IntEnum):
    """What an attacker gets of the victim, least first."""

    LABEL = 0
    """The class of each input."""
    SCORES = 1
    """The probability of each class, or of those that the service tells."""
    WEIGHTS = 2
    """The network itself, or what the attacker takes for it."""

    @property
    def label(self) -> str:
        """The name for a reader and a plan: ``scores``."""
        return self.name.lower()

    @classmethod
    def named(cls, label: str) -> Reply:
        """The reply of this name.

        Raises:
            ConfigError: There is none.
        """
        known = {reply.label: reply for reply in cls}
        if label not in known:
            raise ConfigError(f"There is no reply named {label!r:.80}; {near(label, known)}")
        return known[label]


class SpentError(WithheldError):
    """The attacker has asked as often as it may."""


@dataclass
class Service:
    """The victim as an attacker asks it; every input that it answers counts.

    Attributes:
        ask: ``(N, *input.shape)`` float32 in the range of the inputs to log-probabilities ``(N, classes)``, -1000
            where the reply tells nothing; only their order is of account where `reply` is LABEL.
        reply: What the service tells: LABEL or SCORES.
        budget: Number of inputs that it answers; None for any number.
        asked: Number of inputs that it has answered.
        beside: Another way to ask the same victim, for which the same budget counts.
    """

    ask: Callable[[Tensor], Tensor]
    reply: Reply = Reply.SCORES
    budget: int | None = None
    asked: int = 0
    beside: Service | None = field(default=None, repr=False, compare=False)

    @property
    def left(self) -> float:
        """Number of inputs that it will still answer; infinite without a budget."""
        if self.budget is None:
            return float("inf")
        return self.budget - self.asked - (self.beside.asked if self.beside is not None else 0)

    def scores(self, inputs: Tensor) -> Tensor:
        """Log-probabilities ``(N, classes)`` for inputs ``(N, *input.shape)``.

        Raises:
            WithheldError: The service tells labels only.
            SpentError: The budget is less than what is asked; nothing of it is answered.
        """
        if self.reply < Reply.SCORES:
            raise WithheldError("This service answers with labels only; run an attack that needs no more.")
        return self._answers(inputs)

    def labels(self, inputs: Tensor) -> Tensor:
        """The class of each input, ``(N,)`` int64; raises SpentError as `scores`."""
        return self._answers(inputs).argmax(1)

    def charge(self, n: int) -> None:
        """Count n inputs as asked about.

        Raises:
            SpentError: The budget is less; none is counted.
        """
        if n > self.left:
            raise SpentError(
                f"The attack asks about {n:,} inputs more, and {self.left:,.0f} of the budget of "
                f"{self.budget:,} are left; give it a greater budget, or fewer steps."
            )
        self.asked += n

    def _answers(self, inputs: Tensor) -> Tensor:
        self.charge(len(inputs))
        return torch.cat([self.ask(part) for part in inputs.detach().split(BATCH)])


@dataclass(frozen=True)
class Kept:
    """What an attack keeps for others: the value, what was asked of the victim for it, and how long it took."""

    value: Any
    asked: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ClassView:
    """What the attacker may touch.

    Attributes:
        input: One input of the victim.
        classes: Number of the victim's outputs.
        targets: The classes to represent.
        auxiliary: The attacker's own labelled inputs. Their labels are the attacker's own numbers, which are not those
            of the victim's classes.
        reply: What the attacker gets of the victim.
        seed: Seed of the attacker's own random choices.
        device: Where the attacker computes.
    """

    input: TensorSpec
    classes: int
    targets: tuple[int, ...]
    auxiliary: Dataset
    reply: Reply
    seed: int = 0
    device: torch.device = CPU
    _service: Service | None = None
    _tail_service: Service | None = None
    _head: nn.Module | None = None
    _models: tuple[nn.Module, ...] = ()
    _explain: Callable[[Tensor], Tensor] | None = None
    _kept: dict[Any, Kept] = field(default_factory=dict, repr=False)
    _charged: dict[Any, float] = field(default_factory=dict, init=False, repr=False)

    @property
    def service(self) -> Service:
        """The victim, to be asked; an attacker that holds the network has it for questions as well."""
        return _granted("victim's answers", self._service)

    @property
    def tail_service(self) -> Service:
        """The server's half, asked about smashed data ``(N, *smashed.shape)`` of the attacker's own making."""
        return _granted("server's answers to smashed data", self._tail_service)

    @property
    def head(self) -> nn.Module:
        """The device's half, inputs to smashed data."""
        return _granted("head", self._head)

    @property
    def model(self) -> nn.Module:
        """The victim, or what the attacker takes for it: the last of `models`."""
        return self.models[-1]

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """Networks in evaluation mode, ``(N, *input.shape)`` to logits ``(N, classes)``, through which gradients flow.

        They are the rounds of a training, first to last, or several victims; mostly there is one.
        """
        return _granted("victim's weights", self._models or None)

    @property
    def explain(self) -> Callable[[Tensor], Tensor]:
        """Inputs ``(N, *input.shape)`` to an explanation of the answer to each, ``(N, 1, H, W)``: a saliency map."""
        return _granted("explanations", self._explain)

    @property
    def asked(self) -> int:
        """Number of inputs that the attacker has asked about, by any of its services."""
        services = {id(one): one for one in (self._service, self._tail_service) if one is not None}
        return sum(one.asked for one in services.values())

    @property
    def shared_s(self) -> float:
        """Time in seconds that others spent on what this attacker took of `kept`."""
        return sum(self._charged.values())

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned for this key when it was first asked for; attacks of one study share priors by it.

        What was asked of the service for it is charged to each attacker that takes it, so that no figure depends on the
        order of the attacks. The key states all that the value depends on, but the victim and the reply.

        Raises:
            SpentError: The budget of this attacker is less than what was asked.
        """
        if key not in self._kept:
            before, begin, charged = self.asked, time.perf_counter(), self.shared_s
            value = make()
            spent_s = time.perf_counter() - begin + self.shared_s - charged
            self._kept[key] = Kept(value, self.asked - before, spent_s)
            self._charged[key] = 0.0
        elif key not in self._charged:
            found = self._kept[key]
            if found.asked:
                self.service.charge(found.asked)
            self._charged[key] = found.seconds
        return cast("T", self._kept[key].value)


def _granted(name: str, value: T | None) -> T:
    if value is None:
        raise WithheldError(f"This view withholds the {name} from the attacker.")
    return value
