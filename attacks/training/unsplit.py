"""UnSplit: rebuild inputs and the head together, from smashed data and the head's architecture alone.

E. Erdogan, A. Küpçü, A. E. Çiçek, "UnSplit: Data-Oblivious Model Inversion, Model Stealing, and Label Inference Attacks
against Split Learning", WPES 2022; github.com/ege-erdogan/unsplit @4d972bf. In turns,

    inputs:  min over x of      MSE(clone(x), v) + tv * TV(x) + l2 * mean(x^2)
    clone:   min over weights of MSE(clone(x), v)

each by some steps of Adam with amsgrad, from gray inputs.

Threat model: an honest-but-curious server that knows the architecture of the head, and has no data at all.

Differs from the paper: all inputs of a call share one clone; the clone is drawn anew for each call, while theirs goes
on from one image to the next; nothing is stretched to [0, 1] by its own extremes before it is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.training.view import TrainingAttack, TrainingView
from cutlayer.options import Count, LearningRate, Weight


@dataclass(kw_only=True)
class UnSplit(TrainingAttack):
    """Search for inputs and a head that would give the smashed data.

    Args:
        rounds: Turns of inputs and clone; 1,000 in the paper.
        iterations: Steps of either in a turn; 100 in the paper.
        lr: Learning rate of both.
        tv: Weight of the total variation of the inputs.
        l2: Weight of their mean square.
    """

    plain_words = "searches for pictures and for the device's layers together"

    rounds: Count = 12
    iterations: Count = 100
    lr: LearningRate = 1e-3
    tv: Weight = 0.1
    l2: Weight = 1.0

    def begin(self, view: TrainingView) -> None:
        """See the base."""
        self._new_head, self._shape = view.new_head, view.input.shape
        self._seed, self._device = view.seed, view.device

    def step(self, smashed: Tensor, labels: Tensor | None, tail: nn.Module) -> Tensor | None:
        """See the base; nothing is learned from the training itself."""
        return None

    def invert(self, smashed: Tensor) -> Tensor:
        """See the base."""
        target = smashed.detach().to(self._device)
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else [], device_type="cuda"):
            torch.manual_seed(self._seed)
            clone = self._new_head().to(self._device).train()
        images = torch.full((len(target), *self._shape), 0.5, device=self._device, requires_grad=True)
        of_images = torch.optim.Adam([images], self.lr, amsgrad=True)
        of_clone = torch.optim.Adam(clone.parameters(), self.lr, amsgrad=True)
        for _ in range(self.rounds):
            for _ in range(self.iterations):
                loss = functional.mse_loss(clone(images), target)
                loss = loss + self.tv * _variation(images) + self.l2 * images.square().mean()
                of_images.zero_grad()
                loss.backward(inputs=[images])
                of_images.step()
            for _ in range(self.iterations):
                loss = functional.mse_loss(clone(images.detach()), target)
                of_clone.zero_grad()
                loss.backward()
                of_clone.step()
        return images.detach().clamp(0, 1).to(smashed.device)


def _variation(images: Tensor) -> Tensor:
    """The mean absolute difference of neighbors, down and across."""
    down, across = images.diff(dim=-2).abs().mean(), images.diff(dim=-1).abs().mean()
    return down + across
