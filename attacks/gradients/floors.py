"""What an attack on updates has to beat: answers that need no inversion.

An attack that is no better than the mean of its own samples has learned nothing. One that is no better than the mean
samples of the right classes, or than the samples of its own with the most similar gradients, has inverted nothing. The
mean of the batch itself is what a gradient of many samples tells at once; nobody holds it without the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from cutlayer.attacks.gradients.base import Recovered
from cutlayer.attacks.gradients.client import Made
from cutlayer.attacks.gradients.mean import Mean
from cutlayer.attacks.gradients.view import Observation, UpdateView

CHUNK = 64
"""Samples whose gradients are held in memory at a time."""
BATCH_MEAN = "batch mean"
NEAREST_OF = 1000
"""Auxiliary samples among which the nearest gradients are looked for."""


def mean_sample(view: UpdateView, made: Sequence[Made]) -> list[Recovered]:
    """The mean of the attacker's own samples, for each sample."""
    return Mean().invert(view, [m.observation for m in made])


def nearest(view: UpdateView, made: Sequence[Made]) -> list[Recovered]:
    """As many of the attacker's own samples as the update is from: those whose gradients resemble it most (cosine)."""
    auxiliary = view.auxiliary.take(NEAREST_OF)
    inputs, labels = torch.from_numpy(auxiliary.inputs), torch.from_numpy(auxiliary.labels)
    found, likeness, model = list[Recovered](), torch.zeros(0), None
    for each in made:
        observation = each.observation
        if observation.model is not model:
            # The updates of one model are compared together, for the gradients of the table take the time.
            model = observation.model
            alike = [m.observation for m in made if m.observation.model is model]
            updates = functional.normalize(torch.stack([_direction(o, model) for o in alike]), dim=1)
            chunks = zip(inputs.split(CHUNK), labels.split(CHUNK), strict=True)
            table = [functional.normalize(sample_gradients(model, *chunk), dim=1) @ updates.T for chunk in chunks]
            likeness, rank = torch.cat(table), {id(o): k for k, o in enumerate(alike)}
        order = likeness[:, rank[id(observation)]].argsort(descending=True, stable=True)
        # The attacker may hold fewer samples than the update is from.
        chosen = order[torch.arange(observation.samples) % len(order)]
        found.append(Recovered(inputs[chosen], labels[chosen]))
    return found


def batch_mean(view: UpdateView, made: Sequence[Made]) -> list[Recovered]:
    """The mean of the true samples of each update."""
    return [Recovered(m.inputs.mean(0).expand(m.observation.samples, *m.inputs.shape[1:]).clone()) for m in made]


FLOORS: Mapping[str, Callable[[UpdateView, Sequence[Made]], list[Recovered]]] = {
    "mean sample": mean_sample,
    "nearest gradient": nearest,
    BATCH_MEAN: batch_mean,
}


def sample_gradients(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each sample by itself, ``(N, parameters)``, flattened in the order of the model's parameters."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(weights: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, (weights, buffers), (one[None],))
        return functional.cross_entropy(logits, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different")(parameters, inputs, labels)
    return torch.cat([each[name].flatten(1) for name in parameters], 1)


def _direction(observation: Observation, model: nn.Module) -> Tensor:
    """The update as one vector in the direction of a gradient: a change of weights points the other way."""
    sign = -1 if observation.local_steps else 1
    return sign * torch.cat(
        [torch.as_tensor(observation.update[name]).flatten() for name, _ in model.named_parameters()]
    )
