"""DP-SGD for the layers of a client: each sample's gradient is clipped, and noise is added to the sum of a batch.

M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016. The gradient at the cut has a row for each sample,
so that the head's gradients of single samples need nothing from the server but what it sends anyway. The accountant is
that of I. Mironov, K. Talwar, L. Zhang, "Rényi Differential Privacy of the Sampled Gaussian Mechanism", 2019, §3.3, for
whole orders, with the conversion of B. Balle, G. Barthe, M. Gaboardi, J. Hsu, T. Sato, AISTATS 2020, theorem 21.

What is protected are the weights of the head that a client delivers: whoever sees them learns little about one sample.
What is not: the smashed data and the labels, which go to the server for every sample and step, and the tail that the
server trains on them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from cutlayer.errors import ConfigError

if TYPE_CHECKING:
    from cutlayer.protocols.plan import Privacy, TrainingPlan

_ORDERS = range(2, 257)


class PrivateGradients:
    """The gradients of the parameters of some layers, clipped for each sample and with noise.

    Args:
        layers: The layers.
        privacy: Bound and noise.

    Raises:
        ConfigError: A layer mixes the samples of a batch, as batch normalization does, or draws at random.
    """

    def __init__(self, layers: nn.Module, privacy: Privacy) -> None:
        for name, layer in layers.named_modules():
            if isinstance(layer, _BatchNorm):
                raise ConfigError(
                    f"dp needs gradients of single samples, and {name} mixes those of a batch; set bn = 'replaced'."
                )
            if isinstance(layer, _DropoutNd):
                raise ConfigError(
                    f"dp computes the head once more for each sample, and {name} draws anew; cut before it."
                )
        self._layers, self._privacy = layers, privacy
        self._parameters = {name: p for name, p in layers.named_parameters() if p.requires_grad}

    def apply(self, inputs: Tensor, gradient: Tensor, rng: np.random.Generator) -> None:
        """Set the gradient of each parameter.

        Args:
            inputs: ``(B, *input.shape)``, one batch.
            gradient: ``(B, *smashed.shape)``, that of the batch's mean loss at the output of the layers.
            rng: Source of the noise.
        """
        samples = self.of_samples(inputs, gradient)
        squares = torch.stack([rows.flatten(1).square().sum(1) for rows in samples.values()]).sum(0)
        share = (self._privacy.clip / squares.sqrt().clamp(min=1e-12)).clamp(max=1)
        for name, rows in samples.items():
            total = torch.einsum("n,n...->...", share, rows)
            noise = torch.from_numpy(rng.standard_normal(tuple(total.shape), np.float32))
            self._parameters[name].grad = (total + self._privacy.noise * self._privacy.clip * noise) / len(inputs)

    def of_samples(self, inputs: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        """The gradients of the loss of each sample by parameter, ``(B, ...)``; see `apply`."""
        weights = {name: p.detach() for name, p in self._parameters.items()}

        def of_one(sample: Tensor, row: Tensor) -> dict[str, Tensor]:
            def output(weights: dict[str, Tensor]) -> Tensor:
                smashed: Tensor = functional_call(self._layers, weights, (sample[None],))
                return smashed

            found: dict[str, Tensor] = vjp(output, weights)[1](row[None])[0]
            return found

        samples: dict[str, Tensor] = vmap(of_one)(inputs, gradient * len(gradient))
        return samples


def epsilon(plan: TrainingPlan, samples: int) -> float:
    """The epsilon of the head's weights of one client, for one of its samples added or removed.

    It holds for batches into which each sample comes with the same probability, independently (Poisson sampling). The
    plan shuffles instead, as is common, and for that no bound as low is proven: the figure is for comparison.

    Args:
        plan: The plan; `dp.delta` is the probability with which epsilon does not hold.
        samples: Number of samples of the client.
    """
    if not plan.dp.noise:
        return math.inf
    steps = plan.rounds * plan.epochs * -(-samples // plan.batch)
    share, delta = min(1.0, plan.batch / samples), plan.dp.delta
    return max(
        0.0,
        min(
            steps * _renyi(share, plan.dp.noise, order)
            + math.log1p(-1 / order)
            - (math.log(delta) + math.log(order)) / (order - 1)
            for order in _ORDERS
        ),
    )


def _renyi(share: float, noise: float, order: int) -> float:
    """The Rényi divergence of one step, in nats."""
    if share == 1:
        return order / (2 * noise**2)
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-share)
        + k * math.log(share)
        + (k * k - k) / (2 * noise**2)
        for k in range(order + 1)
    ]
    most = max(terms)
    return (most + math.log(sum(math.exp(term - most) for term in terms))) / (order - 1)


def guarantee(plan: TrainingPlan, samples: int = 0) -> str:
    """What DP-SGD promises a client with so many samples, and what it does not, in sentences; empty without DP-SGD.

    Args:
        plan: The plan.
        samples: Number of samples of the client, of which a smaller one has a greater epsilon; 0 where it is not known.
    """
    if not plan.dp.clip:
        return ""
    known = f"epsilon {epsilon(plan, samples):.2f}" if samples else "an epsilon that depends on the number of samples,"
    whose = f" of a client that holds {samples:,}" if samples else ""
    return (
        f"DP-SGD gives {known} at delta {plan.dp.delta:g} for one sample{whose}, over {plan.rounds} rounds, for the "
        "weights of the head alone; it is computed for batches by Poisson sampling, and the plan shuffles. Not "
        "protected by it are the smashed data and the labels, which go to the server for every sample and step, and "
        "the tail that the server trains on them."
    )
