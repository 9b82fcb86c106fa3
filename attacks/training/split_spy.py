"""SplitSpy: an active server answers batches with wrong labels honestly, so that the client finds nothing.

Y. Fu et al., "Focusing on Pinocchio's Nose", NDSS 2023, §IV: a shadow of the task's model learns from the batches that
are not fake. A batch whose labels it gets wrong is a probe of the client's, and gets the shadow's own gradient.

Threat model: an active server, against a client that sends wrong labels now and then (SplitGuard).

Differs from the paper: the shadow is a copy of the tail alone, trained on what arrives, and a batch is taken for fake
where its loss is above the median of the last ones by a number of their deviations.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.training.training_inversion import TrainingInversion, system
from cutlayer.attacks.training.view import TrainingAttack, TrainingView
from cutlayer.options import Count, LearningRate, Weight


def _fsha() -> TrainingInversion:
    return system("fsha")


@dataclass(kw_only=True)
class SplitSpy(TrainingAttack):
    """An active attack that hides from wrong labels.

    Args:
        attack: The attack.
        lr: Learning rate of the shadow.
        deviations: A batch is fake whose loss is above the median by so many deviations, and by half of the median.
        window: Number of the last losses that are compared with.
        start: Number of batches in which the shadow learns before the attack begins; all are answered honestly.
    """

    plain_words = "answers batches with wrong labels honestly, and attacks through the others"

    attack: TrainingAttack = field(default_factory=_fsha)
    lr: LearningRate = 1e-3
    deviations: Weight = 3.0
    window: Count = 20
    start: Count = 15

    def begin(self, view: TrainingView) -> None:
        """See the base."""
        self.attack.begin(view)
        self._shadow: nn.Module | None = None
        self._losses: list[float] = []

    def step(self, smashed: Tensor, labels: Tensor | None, tail: nn.Module) -> Tensor | None:
        """See the base."""
        if labels is None:
            return self.attack.step(smashed, labels, tail)
        if self._shadow is None:
            self._shadow = copy.deepcopy(tail).train()
            self._optimizer = torch.optim.Adam(self._shadow.parameters(), self.lr)
        leaf = smashed.detach().clone().requires_grad_()
        loss = functional.cross_entropy(self._shadow(leaf), labels)
        value = loss.item()
        if len(self._losses) >= self.start and self._is_fake(value):
            (honest,) = torch.autograd.grad(loss, leaf)
            return honest
        self._losses.append(value)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        gradient = self.attack.step(smashed, labels, tail)
        return leaf.grad if len(self._losses) <= self.start else gradient

    def invert(self, smashed: Tensor) -> Tensor:
        """See the base."""
        return self.attack.invert(smashed)

    def _is_fake(self, loss: float) -> bool:
        recent = np.array(self._losses[-self.window :])
        middle = float(np.median(recent))
        deviation = 1.4826 * float(np.median(abs(recent - middle)))  # of a normal law, whatever fakes are among them
        return loss > middle + max(self.deviations * deviation, 0.5 * middle)
