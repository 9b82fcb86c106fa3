"""Samples that look unlike a client's own and have nearly their gradient: what DCS2 adds and what Refiner trains on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

DEVIATION = 0.3081
"""Inputs in [0, 1] over this are those that the authors of DCS2 measure distances of, normalized as MNIST is."""


def concealed(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    start: Tensor,
    start_labels: Tensor,
    *,
    steps: int,
    lr: float,
    far: float,
    near_outputs: float,
    enough: float,
) -> Tensor:
    """Samples whose gradient points where that of `inputs` does, moved away from them, ``(B, *input.shape)``.

    Adam minimizes ``1 - cos(g', g) + exp(-far * |x' - x|) + near_outputs * |f(x') - f(x)| / |f(x)|``; its learning rate
    falls to a tenth after 3/8, 5/8 and 7/8 of the steps. The samples stay in [0, 1].

    Args:
        model: Inputs to logits; it stays as it is.
        inputs: ``(B, *input.shape)``.
        labels: ``(B,)`` int64.
        start: Where the search begins, of the shape of `inputs`.
        start_labels: The labels that the gradient of the new samples is computed with, ``(B,)`` int64.
        steps: The most steps.
        lr: Learning rate.
        far: Weight of the distance of the samples, in deviations.
        near_outputs: Weight of the distance of the logits.
        enough: The mean distance, in deviations, at which the search stops.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]

    def direction(logits: Tensor, of: Tensor, *, graph: bool) -> Tensor:
        found = torch.autograd.grad(functional.cross_entropy(logits, of), parameters, create_graph=graph)
        return torch.cat([g.flatten() for g in found])

    logits = model(inputs)
    goal, wanted = direction(logits, labels, graph=False), logits.detach()
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps * part // 8 for part in (3, 5, 7)])
    for _ in range(steps):
        found = model(x)
        away = ((x - inputs) / DEVIATION).flatten(1).norm(dim=1).mean()
        if away > enough:
            break
        apart = ((found - wanted).norm(dim=1) / wanted.norm(dim=1)).mean()
        aligned = functional.cosine_similarity(direction(found, start_labels, graph=True), goal, dim=0)
        (x.grad,) = torch.autograd.grad(1 - aligned + torch.exp(-far * away) + near_outputs * apart, x)
        optimizer.step()
        x.data.clamp_(0, 1)
        schedule.step()
    return x.detach()
