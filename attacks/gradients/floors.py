"""What an attack on updates has to beat: answers that need no inversion.

An attack that is no better than the mean of its own samples has learned nothing. One that is no better than the mean
samples of the right classes, or than the samples of its own with the most similar gradients, has inverted nothing. The
mean of the batch itself is what a gradient of many samples tells at once; nobody holds it without the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from cutlayer.attacks.gradients.base import Recovered, checked
from cutlayer.attacks.gradients.class_mean import ClassMean
from cutlayer.attacks.gradients.client import Made
from cutlayer.attacks.gradients.mean import Mean, usual
from cutlayer.attacks.gradients.view import Observation, UpdateView

CHUNK = 64
"""Samples whose gradients are held in memory at a time."""
BATCH_MEAN, NEAREST = "batch mean", "nearest gradient"
NEAREST_OF = 500
"""Auxiliary samples among which the nearest gradients are looked for, at most."""
TABLE_BYTES = 1 << 31
"""Memory of the gradients of these samples; of a large model they are fewer."""


def mean_sample(view: UpdateView, made: Sequence[Made]) -> list[Recovered]:
    """The mean of the attacker's own samples, for each sample."""
    return Mean().invert(view, [m.observation for m in made])


def class_mean(view: UpdateView, made: Sequence[Made]) -> list[Recovered]:
    """The mean of the attacker's own samples of the class, for each label that the update gives away."""
    if all(m.observation.samples == 1 for m in made):
        # Exact for a single sample, and needs no pass over the attacker's samples.
        return ClassMean(labels="idlg").invert(view, [m.observation for m in made])
    return ClassMean().invert(view, [m.observation for m in made])


def nearest(view: UpdateView, made: Sequence[Made]) -> list[Recovered]:
    """Answer with the attacker's own samples whose gradients have the greatest cosine with the update."""
    found = list[Recovered]()
    for each in made:
        observation = checked(each.observation)
        numbers = sum(p.numel() for p in observation.model.parameters())
        auxiliary = view.auxiliary.take(max(1, min(NEAREST_OF, TABLE_BYTES // (4 * numbers))))
        inputs, labels = torch.from_numpy(auxiliary.inputs), torch.from_numpy(auxiliary.labels)
        table = _table(observation.model, inputs, labels)
        order = (table @ _direction(observation)).argsort(descending=True, stable=True)
        # The attacker may hold fewer samples than the update is from.
        chosen = order[torch.arange(observation.samples) % len(order)]
        found.append(Recovered(inputs[chosen], labels[chosen]))
    return found


def batch_mean(view: UpdateView, made: Sequence[Made]) -> list[Recovered]:
    """The mean of the true samples of each update; of sentences the most frequent token of the batch."""
    return [Recovered(_mean(view, m.inputs).expand(m.observation.samples, *m.inputs.shape[1:]).clone()) for m in made]


def _mean(view: UpdateView, inputs: Tensor) -> Tensor:
    return usual(replace(view.auxiliary.take(0), inputs=inputs.numpy())) if view.input.is_tokens else inputs.mean(0)


FLOORS: Mapping[str, Callable[[UpdateView, Sequence[Made]], list[Recovered]]] = {
    "mean sample": mean_sample,
    "class mean": class_mean,
    NEAREST: nearest,
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


_tables: WeakKeyDictionary[nn.Module, tuple[Tensor, Tensor]] = WeakKeyDictionary()


def _table(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The unit vectors of the samples' gradients, kept for as long as the model is: studies ask for one many times."""
    known = _tables.get(model)
    if known is None or not torch.equal(known[0], inputs):
        chunks = zip(inputs.split(CHUNK), labels.split(CHUNK), strict=True)
        rows = torch.cat([functional.normalize(sample_gradients(model, *chunk), dim=1) for chunk in chunks])
        known = _tables[model] = inputs, rows
    return known[1]


def _direction(observation: Observation) -> Tensor:
    """The update as one vector in the direction of a gradient: a change of weights points the other way."""
    names = [name for name, _ in observation.model.named_parameters()]
    flat = torch.cat([torch.as_tensor(observation.update[name]).flatten() for name in names])
    return functional.normalize(-flat if observation.local_steps else flat, dim=0)
