"""How an attack that has gradients moves latent vectors towards a class.

Each takes an objective, the latent vectors ``(N, latent)`` at which it starts, a source of random numbers on the CPU
and a number of steps, and returns the vectors that it reaches. A row of the batch moves by its own gradient alone.
"""

from typing import Protocol

import torch
from torch import Tensor

from cutlayer.progress import track

SPREAD = 1.0
"""Log-variance with which a distribution starts; KEDMI's code, whose standard deviation is 1.65 in this way."""


class Objective(Protocol):
    """What is descended."""

    @property
    def groups(self) -> Tensor:
        """``(N,)`` int64: the class of each row, as a number from 0 without gaps."""

    def gradient(self, z: Tensor) -> Tensor:
        """The gradient of each row's own objective, ``(N, latent)``."""

    def clip(self, z: Tensor) -> Tensor:
        """The nearest vectors that may be searched."""


def momentum(
    objective: Objective, z: Tensor, random: torch.Generator, steps: int, *, lr: float, momentum: float = 0.9
) -> Tensor:
    """Nesterov's momentum in look-ahead form, as GMI's code (Zhang et al., CVPR 2020) takes it."""
    velocity = torch.zeros_like(z)
    for _ in track(range(steps), "searching the latent vectors"):
        before, velocity = velocity, momentum * velocity - lr * objective.gradient(z)
        z = objective.clip(z - momentum * before + (1 + momentum) * velocity)
    return z


def adam(
    objective: Objective,
    z: Tensor,
    random: torch.Generator,
    steps: int,
    *,
    lr: float,
    momentum: float = 0.9,
    second: float = 0.999,
) -> Tensor:
    """Adam with the betas `momentum` and `second`."""
    z = z.clone()
    optimizer = torch.optim.Adam([z], lr, betas=(momentum, second))
    for _ in track(range(steps), "searching the latent vectors"):
        z.grad = objective.gradient(z)
        optimizer.step()
        z.copy_(objective.clip(z))
    return z


def distribution(
    objective: Objective,
    z: Tensor,
    random: torch.Generator,
    steps: int,
    *,
    lr: float,
    momentum: float = 0.9,
    second: float = 0.999,
    kl: float = 0.0,
) -> Tensor:
    """Fit a normal distribution of independent components to each class, by Adam, and draw from it.

    Each row is a draw of its class's distribution in each step. KEDMI (Chen et al., ICCV 2021) fits it without, and
    VMI (Wang et al., NeurIPS 2021) with `kl` times the divergence from N(0, I).
    """
    groups, n = objective.groups, int(objective.groups.max()) + 1
    mean, log_variance = z.new_zeros(n, z.shape[1]), z.new_full((n, z.shape[1]), SPREAD)
    share = (1 / torch.bincount(groups, minlength=n).to(z))[:, None]
    optimizer = torch.optim.Adam([mean, log_variance], lr, betas=(momentum, second))

    def draw() -> tuple[Tensor, Tensor]:
        deviation = torch.randn(z.shape, generator=random).to(z) * (log_variance / 2).exp()[groups]
        return mean[groups] + deviation, deviation

    for _ in track(range(steps), "searching a distribution of latent vectors"):
        drawn, deviation = draw()
        gradient = objective.gradient(objective.clip(drawn))
        sums = [torch.zeros_like(mean).index_add_(0, groups, part) for part in (gradient, gradient * deviation / 2)]
        mean.grad = share * sums[0] + kl * mean
        log_variance.grad = share * sums[1] + kl * (log_variance.exp() - 1) / 2
        optimizer.step()
    return objective.clip(draw()[0])
