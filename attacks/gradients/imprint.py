"""Robbing the Fed: the server puts a layer in front of the model that sorts samples, one to a row.

L. Fowl, J. Geiping, W. Czaja, M. Goldblum, T. Goldstein, "Robbing the Fed: Directly Obtaining Private Data in Federated
Learning with Modified Models", ICLR 2022, https://arxiv.org/abs/2110.13057; code
https://github.com/lhfowl/robbing_the_fed, commit 91c4939.

All rows of the layer measure the same of a sample, its mean, and a ReLU opens row k where that is above the k-th of
increasing bounds. The gradients of neighbouring rows differ by the samples between their bounds. Where that is one,
the difference of their weights over that of their biases is the sample.

Active: the server changes the model. `cutlayer.defenses.updates.inspection` finds it on the client.

Differs from the paper: the bounds are quantiles of the attacker's own samples in place of a normal or a Laplace
distribution, and the layer adds to the sample what it gives, so that the model behind goes on as before.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.update import in_range, scaled_gradient
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.errors import ConfigError
from cutlayer.options import Size

EMPTY = 1e-4
"""Difference of two biases' gradients, over the greatest, below which rounding makes it and no sample."""
REACH = 1e-2
"""Weight with which the layer's answer is added to each number of the sample."""


class Imprint(nn.Module):
    """Add to an input what it gives: the same number everywhere, by as many rows as its mean opens.

    Args:
        size: Numbers of one input.
        bounds: ``(bins,)``, ascending.
    """

    def __init__(self, size: int, bounds: Tensor) -> None:
        super().__init__()
        self.rows, self.back = nn.Linear(size, len(bounds)), nn.Linear(len(bounds), size)
        with torch.no_grad():
            self.rows.weight.fill_(1 / size)
            self.rows.bias.copy_(-bounds)
            # What comes back has to differ between numbers of the input, for layers behind may ignore their sum.
            self.back.weight.copy_(REACH / len(bounds) * torch.linspace(-1, 1, size)[:, None].expand(-1, len(bounds)))
            self.back.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs of any shape to the same shape."""
        opened = torch.relu(self.rows(inputs.flatten(1)))
        changed: Tensor = inputs + self.back(opened).reshape(inputs.shape)
        return changed


@dataclass(kw_only=True)
class ImprintAttack(UpdateAttack):
    """Send a model that begins with a layer of equal rows, and take the differences of their gradients.

    Args:
        bins: Rows of the layer. With many more rows than samples, most samples are alone between two bounds.
    """

    plain_words = "sends a model with a first layer that sorts samples, one to a row, and reads them off its gradient"
    active = True

    bins: Size = 512

    def broadcast(self, view: UpdateView, model: nn.Module) -> nn.Module:
        """The model behind a layer that sorts samples by their means."""
        if len(view.auxiliary) < 2:
            raise ConfigError("imprint sets its bounds by samples of the attacker's own, and there are fewer than two.")
        means = torch.from_numpy(view.auxiliary.inputs).flatten(1).double().mean(1)
        bounds = torch.quantile(means, torch.linspace(0, 1, self.bins + 1, dtype=torch.float64)[:-1])
        # A sample below the least bound would open no row.
        bounds[0] = -1.0 if view.input.low is None else view.input.low - 1.0
        front = Imprint(view.input.size, bounds.float()).to(next(model.parameters()).device)
        return nn.Sequential(front, copy.deepcopy(model)).train(model.training)

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base; what no row holds is the mean of the attacker's own samples."""
        usual = torch.from_numpy(view.auxiliary.inputs.mean(0))
        found = []
        for observation in observations:
            samples = in_range(_samples(observation, view), view.input)
            missing = usual.expand(observation.samples - len(samples), *usual.shape)
            found.append(Recovered(torch.cat([samples, missing])))
        return found


def _samples(observation: Observation, view: UpdateView) -> Tensor:
    """The inputs between neighbouring bounds, ``(n, *input.shape)`` on the CPU: those that weigh most, at most B."""
    model = observation.model
    if not (isinstance(model, nn.Sequential) and isinstance(model[0], Imprint)):
        raise ConfigError("imprint reads the layer that it puts in front; the update is from a model without it.")
    gradient = scaled_gradient(observation, "imprint")
    weight, bias = gradient["0.rows.weight"].double().cpu(), gradient["0.rows.bias"].double().cpu()
    # Above the last bound there is no other row.
    weights = weight - torch.cat([weight[1:], torch.zeros_like(weight[:1])])
    biases = bias - torch.cat([bias[1:], torch.zeros_like(bias[:1])])
    order = biases.abs().argsort(descending=True)[: observation.samples]
    used = order[biases[order].abs() > EMPTY * biases.abs().max()]
    return (weights[used] / biases[used, None]).reshape(len(used), *view.input.shape)
