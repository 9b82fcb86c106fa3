"""A small model, and the two shortest attacks on its gradients, for tests of what a defense withstands."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.client import gradients

Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def smooth(pixels: int = 64, classes: int = 4) -> nn.Module:
    """A small model that matching attacks do well on: sigmoids, and weights of a wide law, as DLG's."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 48), nn.Sigmoid(), nn.Linear(48, classes))
    for p in model.parameters():
        nn.init.uniform_(p, -0.5, 0.5)
    return model


def ratio(update: dict[str, Tensor], weight: str, bias: str) -> Tensor:
    """The sample of a batch of one, by the unit of a linear first layer whose bias has the greatest gradient."""
    unit = update[bias].abs().argmax()
    return update[weight][unit] / update[bias][unit]


def matched(
    model: nn.Module, update: dict[str, Tensor], labels: Tensor, shape: tuple[int, ...], mixing: Mixing, starts: int = 1
) -> Tensor:
    """Inputs whose gradient, after `mixing`, is nearest to the update, by L-BFGS; the best of some starts."""
    torch.manual_seed(1)
    scale = sum(float(g.square().sum()) for g in update.values())
    found: list[tuple[float, Tensor]] = []
    for _ in range(starts):
        guess = torch.rand(len(labels), *shape, requires_grad=True)
        optimizer = torch.optim.LBFGS([guess], max_iter=60, history_size=50, line_search_fn="strong_wolfe")

        def distance(guess: Tensor = guess, optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            own = gradients(model, *mixing(guess, labels), create_graph=True)
            value = torch.stack([(own[name] - g).square().sum() for name, g in update.items()]).sum() / scale
            value.backward()
            return value

        optimizer.step(distance)
        found.append((distance().item(), guess.detach()))
    return min(found, key=lambda each: each[0])[1]


def psnr(found: Tensor, truth: Tensor) -> float:
    """PSNR in dB for a range of 1."""
    return float(-10 * (found.reshape(truth.shape) - truth).square().mean().log10())
