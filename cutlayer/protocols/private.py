"""DP-SGD at a client: the gradient of each sample or class is clipped, and noise is added to the sum of a batch.

M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016. Where there is a tail at the server, the gradient
at the cut has a row for each sample, so that the head's gradients of single samples need nothing from the server but
what it sends anyway; where there is none, the client has the loss itself. Accountant:
`cutlayer.defenses.shared.accountant`.

What is protected are the weights that a client delivers: whoever sees them learns little about one sample. What is not:
the smashed data and the labels, which go to the server for every sample and step, and the tail that it trains on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from cutlayer.defenses.shared import accountant
from cutlayer.defenses.updates.client_dp import ClientDP
from cutlayer.errors import ConfigError
from cutlayer.protocols.label_privacy import label_guarantee
from cutlayer.protocols.update_defense import update_defense

if TYPE_CHECKING:
    from cutlayer.protocols.plan import Privacy, TrainingPlan


class PrivateGradients:
    """The gradients of the parameters of some layers, clipped for each sample or class, and with noise.

    Args:
        layers: The layers: a head, or the whole model.
        privacy: Bound, noise, and what the bound is for.

    Raises:
        ConfigError: A layer mixes the samples of a batch, as batch normalization does, or draws at random; or the model
            has a loss of its own.
    """

    def __init__(self, layers: nn.Module, privacy: Privacy) -> None:
        for name, layer in layers.named_modules():
            if isinstance(layer, _BatchNorm):
                raise ConfigError(
                    f"dp needs gradients of single samples, and {name} mixes those of a batch; set bn = 'replaced', "
                    "which puts group normalization in its place."
                )
            if isinstance(layer, _DropoutNd):
                raise ConfigError(
                    f"dp computes these layers once more for each sample, and {name} draws anew; cut before it, or "
                    "take a model without dropout."
                )
        if hasattr(layers, "training_loss"):
            raise ConfigError(
                "dp clips gradients of the cross-entropy, and this model has a loss of its own; leave dp out, or "
                "the update_defense that brings that loss."
            )
        self._layers, self._privacy = layers, privacy
        self._parameters = {name: p for name, p in layers.named_parameters() if p.requires_grad}

    def apply(self, inputs: Tensor, gradient: Tensor, rng: np.random.Generator) -> None:
        """Set the gradient of each parameter, from that at the output of the layers.

        Args:
            inputs: ``(B, *input.shape)``, one batch.
            gradient: ``(B, *smashed.shape)``, that of the batch's mean loss at the output of the layers.
            rng: Source of the noise.
        """
        self._set(self.of_samples(inputs, gradient), rng, len(inputs))

    def apply_loss(self, inputs: Tensor, labels: Tensor, rng: np.random.Generator) -> None:
        """Set the gradient of each parameter, where the layers are the whole model.

        Args:
            inputs: ``(B, *input.shape)``, one batch.
            labels: ``(B,)`` int64.
            rng: Source of the noise.
        """
        units = self.of_losses(inputs, labels)
        if self._privacy.unit == "class":
            present, place = labels.unique(return_inverse=True)
            zeros = {name: rows.new_zeros(len(present), *rows.shape[1:]) for name, rows in units.items()}
            units = {name: zeros[name].index_add(0, place, rows) for name, rows in units.items()}
        self._set(units, rng, len(inputs))

    def _set(self, units: dict[str, Tensor], rng: np.random.Generator, n: int) -> None:
        """Clip the gradient of each unit, ``(units, ...)`` by parameter, add noise to their sum, and divide by `n`."""
        squares = torch.stack([rows.flatten(1).square().sum(1) for rows in units.values()]).sum(0)
        share = (self._privacy.clip / squares.sqrt().clamp(min=1e-12)).clamp(max=1)
        for name, rows in units.items():
            total = torch.einsum("n,n...->...", share, rows)
            noise = torch.from_numpy(rng.standard_normal(tuple(total.shape), np.float32))
            self._parameters[name].grad = (total + self._privacy.noise * self._privacy.clip * noise) / n

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

    def of_losses(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The gradients of the cross-entropy of each sample by parameter, ``(B, ...)``; see `apply_loss`."""
        weights = {name: p.detach() for name, p in self._parameters.items()}

        def loss(weights: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
            return functional.cross_entropy(functional_call(self._layers, weights, (sample[None],)), label[None])

        samples: dict[str, Tensor] = vmap(grad(loss), in_dims=(None, 0, 0))(weights, inputs, labels)
        return samples


def epsilon(plan: TrainingPlan, samples: int) -> float:
    """The epsilon of the weights that one client delivers, for one of its samples or classes added or removed.

    For samples it holds for batches into which each comes with the same probability, independently (Poisson sampling).
    The plan shuffles instead, as is common, and for that no bound as low is proven: the figure is for comparison.

    Args:
        plan: The plan; `dp.delta` is the probability with which epsilon does not hold.
        samples: Number of samples of the client.
    """
    steps = plan.rounds * plan.epochs * -(-samples // plan.batch)
    # Samples of one class are in nearly every batch.
    share = 1.0 if plan.dp.unit == "class" else min(1.0, plan.batch / samples)
    return accountant.epsilon(plan.dp.noise, share, steps, plan.dp.delta)


def guarantee(plan: TrainingPlan, samples: int = 0) -> str:
    """What differential privacy promises a client, and what it does not, in sentences; empty where there is none.

    Args:
        plan: The plan.
        samples: Number of samples of the client, of which a smaller one has a greater epsilon; 0 where it is not known.
    """
    promises = _of_samples(plan, samples), _of_client(plan, samples), label_guarantee(plan)
    return " ".join(said for said in promises if said)


def _of_samples(plan: TrainingPlan, samples: int) -> str:
    if not plan.dp.clip:
        return ""
    known = f"epsilon {epsilon(plan, samples):.2f}" if samples else "an epsilon that depends on the number of samples,"
    whose = f" of a client that holds {samples:,}" if samples else ""
    unit = "one sample" if plan.dp.unit == "record" else "all samples of one class"
    how = "it is computed for batches by Poisson sampling, and the plan shuffles"
    if plan.dp.unit == "class":
        how = "every batch counts as one with that class"
    what = "the weights of the head alone" if plan.row.tail != "none" else "the weights of the whole model"
    return (
        f"DP-SGD gives {known} at delta {plan.dp.delta:g} for {unit}{whose}, over {_rounds(plan)}, for {what}; "
        f"{how}. {_uncovered(plan)}"
    )


def _of_client(plan: TrainingPlan, samples: int) -> str:
    """The promise of the defense of updates `client-dp`."""
    defense = update_defense(plan.update_defense)
    if not isinstance(defense, ClientDP) or not defense.on:
        return ""
    by_step, alone = plan.row.sync == "step", plan.secure_aggregation is None
    releases = plan.rounds * (plan.epochs * -(-samples // plan.batch) if by_step else 1)
    value = defense.epsilon(releases, plan.dp.delta, 1 if alone else plan.per_round)
    known = f"epsilon {value:.2f}" if releases else "an epsilon that depends on the number of samples,"
    seen = (
        "an attacker who sees each of them"
        if alone
        else f"an attacker who sees their mean over {plan.per_round} clients of equal weight"
    )
    also = "" if plan.row.tail == "none" else ", and the smashed data and labels that go to the server in every step"
    return (
        f"client-dp gives {known} at delta {plan.dp.delta:g} for one client with all that it holds, over "
        f"{_rounds(plan)}, for the updates that it delivers, against {seen}. Not protected by it are the number of its "
        f"samples, and the running statistics of batch normalization{also}."
    )


def _rounds(plan: TrainingPlan) -> str:
    return f"{plan.rounds} round{'s'[: plan.rounds > 1]}"


def _uncovered(plan: TrainingPlan) -> str:
    if plan.row.tail != "none":
        return (
            "Not protected by it are the smashed data and the labels, which go to the server for every sample and "
            "step, and the tail that the server trains on them."
        )
    return (
        "Not protected by it are the client as a whole, whose samples count one by one, the number of its samples, and "
        "what was tried on them before this training."
    )
