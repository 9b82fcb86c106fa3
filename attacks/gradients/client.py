"""What an honest client computes: the gradient of a batch, or the change of its weights by some local steps.

Attackers compute it too, for inputs of their own; studies compute with it what a client would have sent. Updates of the
real service come from its transcript.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutlayer.attacks.gradients.view import Observation
from cutlayer.defenses.shared.draws import seeded
from cutlayer.defenses.updates.base import Local, Update, UpdateDefense
from cutlayer.training import loss_of


class Made(NamedTuple):
    """An update, and the samples that it was computed from.

    Attributes:
        observation: What the server sees.
        inputs: ``(M, *input.shape)``, as the defense had them; what a perfect attacker would rebuild.
        labels: ``(M,)`` int64, or ``(M, classes)``.
    """

    observation: Observation
    inputs: Tensor
    labels: Tensor


def gradients(model: nn.Module, inputs: Tensor, labels: Tensor, *, create_graph: bool = False) -> dict[str, Tensor]:
    """The gradient of the loss of a batch, by name of the parameter.

    Args:
        model: Inputs to logits.
        inputs: ``(B, *input.shape)``.
        labels: ``(B,)`` int64, or ``(B, classes)`` shares of each class.
        create_graph: Whether the gradient can be differentiated, with respect to `inputs` and `labels`.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss_of(model, inputs, labels), list(parameters.values()), create_graph=create_graph)
    return dict(zip(parameters, found, strict=True))


def observed(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    defense: UpdateDefense,
    rng: np.random.Generator,
    *,
    state: dict[str, NDArray[np.float32]] | None = None,
    local_steps: int = 0,
    batch: int = 0,
    lr: float = 0.0,
    round: int = 0,
    eval_mode: bool = True,
) -> Made:
    """The update that a client sends for its samples, made in process.

    Args:
        model: The model that the server has sent; it stays as it is.
        inputs: ``(B, *input.shape)``.
        labels: ``(B,)`` int64.
        defense: What the client does to its samples and its update.
        rng: Source of the draws of the defense, and of dropout and other layers that draw.
        state: What the defense keeps from one update of this client to the next; it is changed in place.
        local_steps: Number of steps of SGD; 0 for one gradient of all samples.
        batch: Samples in each local step, taken in their order, again from the first after the last; 0 or more
            than there are for all.
        lr: Learning rate of the local steps.
        round: Number of rounds that the model was trained for.
        eval_mode: Whether the client computes with the model in evaluation mode.
    """
    local = Local(model, inputs, labels, round, local_steps)
    # A gradient in evaluation mode changes nothing in the model, and copies of traced ones are slow.
    as_it_is = not local_steps and eval_mode and not any(layer.training for layer in model.modules())
    trained = model if as_it_is else copy.deepcopy(model).train(not eval_mode)
    used, of = defense.augment(inputs, labels, rng, local)
    size = min(batch or len(used), len(used))
    with seeded(rng, used.device):
        if not local_steps:
            update: Mapping[str, Tensor] = {name: g.detach() for name, g in gradients(trained, used, of).items()}
        else:
            taken = 0
            for _ in range(local_steps):
                index = (torch.arange(size) + taken) % len(used)
                taken += size
                found = gradients(trained, used[index], of[index])
                with torch.no_grad():
                    for name, p in trained.named_parameters():
                        if name in found:
                            p.sub_(lr * found[name])
            before = dict(model.named_parameters())
            update = {name: (p - before[name]).detach() for name, p in trained.named_parameters()}
    sent = defense.protect_update(update, rng, {} if state is None else state, local)
    observation = Observation(
        update=sent,
        samples=len(inputs),
        local_steps=local_steps,
        batch=size,
        lr=lr,
        round=round,
        eval_mode=eval_mode,
        _model=model,
    )
    return Made(observation, used, of)


def mixed(made: Sequence[Made], defense: UpdateDefense, rng: np.random.Generator) -> list[Made]:
    """What the server sees of each client of one round, where the defense mixes their updates.

    Args:
        made: The updates of the clients, of equally many samples each.
        defense: What the clients do.
        rng: Source of the defense's draws.
    """
    shared = defense.share(weighted(made), rng)
    return [
        m._replace(observation=replace(m.observation, update=_scaled(shared[k], len(made)))) for k, m in enumerate(made)
    ]


def weighted(made: Sequence[Made]) -> dict[int, Update]:
    """The updates of clients with equally many samples, each with the weight 1 / K, by number."""
    weight = 1 / len(made)
    return {k: {name: weight * value for name, value in m.observation.update.items()} for k, m in enumerate(made)}


def _scaled(update: Update, factor: int) -> dict[str, Tensor]:
    """An entry in the size of one client's update; what is no number, such as a ciphertext, as it is."""
    tensors = {name: torch.as_tensor(value) for name, value in update.items()}
    return {name: (value * factor).float() if value.is_floating_point() else value for name, value in tensors.items()}
