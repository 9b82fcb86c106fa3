"""What a client does to its samples and to the updates that it sends, as its plan says."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutlayer.defenses.updates.base import Local, Update
from cutlayer.errors import ConfigError
from cutlayer.protocols.draws import Role, drawing, generator
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.update_defense import update_defense

_STATE = "update/"


class Updates:
    """The update defense of one client, and what it keeps from one update to the next.

    An update is the weights that the client would deliver minus those that it has received, or the gradients of its
    head where these are summed at each step. The running statistics of a batch normalization are no parameters, and
    travel as they are.

    Args:
        plan: The plan.
        number: Number of the client.
        head: The client's layers that are averaged; the whole model where the server has no tail.
        inputs: The client's samples.
        labels: Their labels.
    """

    def __init__(self, plan: TrainingPlan, number: int, head: nn.Module, inputs: Tensor, labels: Tensor) -> None:
        self._plan, self._number, self._head = plan, number, head
        self._inputs, self._labels = inputs, labels
        self._defense = update_defense(plan.update_defense)
        self._kept: dict[str, NDArray[np.float32]] = {}
        # A defense may run a model in training mode; that must not move the running statistics of the client's own.
        self._begun, self._now = (copy.deepcopy(head) if self._defense.on else head for _ in range(2))

    def begin(self) -> None:
        """Remember the weights that a turn begins with."""
        if self._defense.on:
            self._begun.load_state_dict(self._head.state_dict())

    def batch(self, round: int, step: int, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The samples that the head is trained on in place of those of a batch.

        Raises:
            ConfigError: The defense changes the number of the samples or mixes their classes, and the server, which has
                the tail, expects one label for each.
        """
        if not self._defense.on:
            return inputs, labels
        counter = self._plan.seed, Role.AUGMENT, self._number, round, step
        with drawing(*counter):
            local = self._of_now(round, inputs, labels)
            found, of = self._defense.augment(inputs, labels, generator(*counter), local)
        if self._plan.row.tail != "none" and (len(found) != len(inputs) or of.dim() != 1):
            raise ConfigError(
                f"{self._plan.update_defense.name} trains on other samples than a batch has, or on mixed classes, and "
                f"{self._plan.protocol} sends one label for each sample of it; take fedavg, which sends none."
            )
        return found, of

    def delivered(self, round: int, weights: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """The weights that the client delivers at the end of a round, in place of its own.

        Args:
            round: The round.
            weights: The weights and buffers that are delivered, by name.
            steps: Number of optimizer steps since `begin`.
        """
        if not self._defense.on:
            return dict(weights)
        before = {name: p.detach() for name, p in self._begun.named_parameters() if p.requires_grad and name in weights}
        update = {name: weights[name] - value for name, value in before.items()}
        local = Local(self._begun, self._inputs, self._labels, round - 1, steps)
        sent = self._protected(round, 0, update, local)
        # What the defense leaves as it is stays so to the last bit.
        changed = {name: before[name] + value for name, value in sent.items() if not torch.equal(value, update[name])}
        return {**weights, **changed}

    def gradients(
        self, round: int, step: int, gradients: Mapping[str, Tensor], batch: tuple[Tensor, Tensor] | None
    ) -> Update:
        """The gradients of the head that the client sends for one step, in place of its own.

        Args:
            round: The round.
            step: The step.
            gradients: The gradients by name; none where the client has no batch left.
            batch: The samples of the step and their labels.
        """
        if not self._defense.on:
            return gradients
        return self._protected(round, step, gradients, None if batch is None else self._of_now(round, *batch))

    def _of_now(self, round: int, inputs: Tensor, labels: Tensor) -> Local:
        self._now.load_state_dict(self._head.state_dict())
        return Local(self._now, inputs, labels, round - 1)

    def _protected(self, round: int, step: int, update: Update, local: Local | None) -> Update:
        counter = self._plan.seed, Role.UPDATE, self._number, round, step
        with drawing(*counter):
            return self._defense.protect_update(update, generator(*counter), self._kept, local)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs."""
        return {f"{_STATE}{name}": torch.from_numpy(value.copy()) for name, value in self._kept.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Undo `state`; other names are ignored."""
        self._kept = {
            name.removeprefix(_STATE): value.numpy().copy() for name, value in state.items() if name.startswith(_STATE)
        }
