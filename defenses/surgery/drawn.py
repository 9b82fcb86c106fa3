"""A bottleneck of random numbers before the last layer of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.defenses.mid import divergence

_LEAST_DEVIATION = 1e-6


class Drawn(nn.Module):
    """A model whose features before the last layer are drawn from a distribution, in every mode.

    Args:
        body: Inputs to features ``(N, features)``.
        features: Number of features.
        classes: Number of logits.
        beta: Weight of KL in the loss.
    """

    def __init__(self, body: nn.Module, features: int, classes: int, beta: float) -> None:
        super().__init__()
        size = max(1, features // 2)
        self.body, self.beta = body, beta
        self.mean, self.spread = nn.Linear(features, size), nn.Linear(features, size)
        self.last = nn.Linear(size, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs to logits, by a draw from torch's generator."""
        mean, deviation = self._distribution(inputs)
        logits: Tensor = self.last(mean + deviation * torch.randn_like(mean))
        return logits

    def training_loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy by one draw plus `beta` times the divergence from the standard normal law, in nats."""
        mean, deviation = self._distribution(inputs)
        logits = self.last(mean + deviation * torch.randn_like(mean))
        nats: Tensor = divergence(mean.float(), deviation.float())
        return functional.cross_entropy(logits.float(), labels) + self.beta * nats

    def _distribution(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(inputs)
        return self.mean(features), functional.softplus(self.spread(features)) + _LEAST_DEVIATION
