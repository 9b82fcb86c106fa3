"""PRECODE: a variational bottleneck before the last layer, so that the gradient of all layers depends on random draws.

D. Scheliga, P. Mäder, M. Seeland, "PRECODE - A Generic Model Extension to Prevent Deep Gradient Leakage", WACV 2022,
https://arxiv.org/abs/2108.04725. The features h before the last layer are replaced by a decoded sample:

    mean, s = encode(h);  z ~ N(mean, softplus(s)^2);  logits = last(decode(z));  loss = CE + beta * KL(z || N(0, I))

with z of 256 numbers and beta 1e-3; KL in bits, the mean over samples, as in the authors' code. Each computation of a
gradient draws anew, in training and in evaluation mode.

Threat model: a curious server rebuilds the samples of an update. Matching attacks do not know the draws and fail. The
draws stand behind the first layer, though: the gradient of a linear first layer is still a product of the sample and a
number for each unit, so that its ratio with the gradient of the bias is the sample, exactly (attack ``ratio``).

Differs from the paper: none of the parts; any model whose last operation is a linear layer takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.defenses.mid import divergence
from cutlayer.defenses.surgery.last_layer import without_last
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.options import Weight, Within

if TYPE_CHECKING:
    from cutlayer.spec import TensorSpec

_LEAST_DEVIATION = 1e-6


@dataclass(kw_only=True)
class Precode(UpdateDefense):
    """Draw the features before the last layer from a normal distribution that the model itself gives.

    Args:
        size: Numbers in the sample that is drawn; 0 leaves the model as it is.
        beta: Weight of KL, in bits, beside the cross-entropy.
    """

    knob = "size"
    plain_words = "has the model draw its last features at random, so that gradients cannot be repeated"

    size: Annotated[int, Within(0, 65_536)] = 256
    beta: Weight = 1e-3

    def rebuilt(self, model: nn.Module, input: TensorSpec, classes: int) -> nn.Module:
        """See the base. The new weights are drawn from torch's generator.

        Raises:
            ConfigError: The last operation of the model is no linear layer.
        """
        if not self.on:
            return model
        body, last = without_last(model, input)
        return Bottlenecked(body, last, self.size, self.beta)


class Bottlenecked(nn.Module):
    """A model whose features before the last layer are drawn from a distribution.

    Args:
        body: Inputs to features ``(N, last.in_features)``.
        last: Features to logits.
        size: Numbers in the sample that is drawn.
        beta: Weight of KL in the loss.
    """

    def __init__(self, body: nn.Module, last: nn.Linear, size: int, beta: float) -> None:
        super().__init__()
        self.body, self.beta = body, beta
        # In the order in which they are passed: the last layer is the one that attacks read the labels from.
        self.encoder, self.decoder = nn.Linear(last.in_features, 2 * size), nn.Linear(size, last.in_features)
        self.last = last

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs to logits, by a draw."""
        return self._logits(*self._distribution(inputs))

    def training_loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy by one draw plus `beta` times the divergence from the standard normal law, in bits."""
        mean, deviation = self._distribution(inputs)
        error = functional.cross_entropy(self._logits(mean, deviation), labels)
        bits: Tensor = divergence(mean, deviation) / log(2)
        return error + self.beta * bits

    def _distribution(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, s = self.encoder(self.body(inputs)).chunk(2, dim=1)
        return mean, functional.softplus(s) + _LEAST_DEVIATION

    def _logits(self, mean: Tensor, deviation: Tensor) -> Tensor:
        logits: Tensor = self.last(self.decoder(mean + deviation * torch.randn_like(mean)))
        return logits
