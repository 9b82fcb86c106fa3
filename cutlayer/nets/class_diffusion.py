"""A diffusion prior that knows classes: noise becomes an image of the class that is asked for.

    v = v(x, t, any) + guidance (v(x, t, y) - v(x, t, any))

The network of `cutlayer.nets.diffusion`, which is told the class, and told none for a share of the images while it
learns. J. Ho, T. Salimans, "Classifier-Free Diffusion Guidance", 2022, https://arxiv.org/abs/2207.12598; sampling
without fresh noise, J. Song, C. Meng, S. Ermon, "Denoising Diffusion Implicit Models", ICLR 2021.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from cutlayer.machine.compute import autocast
from cutlayer.nets.diffusion import Denoiser, scales
from cutlayer.progress import track

BATCH, LR = 64, 2e-3
"""Images in a step of the training, and its greatest learning rate."""
UNTOLD = 0.1
"""Share of the images whose class the network is not told; Ho and Salimans."""
GUIDANCE = 3.0
"""Diff-MI's."""


def learned_denoiser(images: Tensor, labels: Tensor, classes: int, *, width: int, steps: int, seed: int) -> Denoiser:
    """Train a network that knows classes, in eval mode and without gradients.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)`` int64.
        classes: Number of classes.
        width: Channels at half resolution.
        steps: Steps of Adam.
        seed: Seed of every random choice.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Denoiser(tuple(images.shape[1:]), width, classes).to(images.device)
    random, adam = torch.Generator().manual_seed(seed), torch.optim.Adam(network.parameters(), LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, LR, total_steps=max(1, steps))
    for _ in track(range(steps), "training the diffusion of classes"):
        rows = torch.randint(len(images), (BATCH,), generator=random)
        x, noise = 2 * images[rows.to(images.device)] - 1, torch.randn(BATCH, *images.shape[1:], generator=random)
        told = (torch.rand(BATCH, generator=random) >= UNTOLD).to(images.device)
        y = torch.where(told, labels[rows.to(images.device)], classes)
        t, noise = torch.rand(BATCH, generator=random).to(x), noise.to(x)
        alpha, sigma = (factor.view(-1, 1, 1, 1) for factor in scales(t))
        with autocast(x.device):
            v = network(alpha * x + sigma * noise, t, y).float()
        adam.zero_grad()
        mse_loss(v, alpha * noise - sigma * x).backward()
        adam.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def guided(network: Denoiser, x: Tensor, t: Tensor, y: Tensor, guidance: float = GUIDANCE) -> Tensor:
    """The estimate of v for images of these classes, float32.

    Args:
        network: Told the classes.
        x: ``(N, C, H, W)``: noisy images in [-1, 1].
        t: Their time, a scalar.
        y: ``(N,)`` int64.
        guidance: How much further than the class goes; 1 for the class as it is, 0 for none.
    """
    assert network.labels is not None
    none = torch.full_like(y, network.labels.num_embeddings - 1)
    with autocast(x.device):
        both = network(x.repeat(2, 1, 1, 1), t.to(x).expand(2 * len(x)), torch.cat([y, none])).float()
    told, untold = both.chunk(2)
    return torch.lerp(untold, told, guidance)


@torch.no_grad()
def denoised(
    network: Denoiser, x: Tensor, y: Tensor, *, start: float = 1.0, steps: int, guidance: float = GUIDANCE
) -> Tensor:
    """Images ``(N, C, H, W)`` in [0, 1] of these classes.

    Args:
        network: Told the classes.
        x: ``(N, C, H, W)``: noisy images in [-1, 1] of the time `start`; normal noise for 1.
        y: ``(N,)`` int64.
        start: The time at which the walk begins.
        steps: Steps of the walk.
        guidance: See `guided`.
    """
    times = torch.linspace(start, 0, steps + 1)
    clean = x
    for now, later in pairwise(times):
        (alpha, sigma), (next_alpha, next_sigma) = scales(now), scales(later)
        clean = (alpha * x - sigma * guided(network, x, now, y, guidance)).clamp(-1, 1)
        x = next_alpha * clean + next_sigma * (x - alpha * clean) / sigma
    return (clean + 1) / 2
