"""Small networks that learn to answer as a victim does, for an attacker who wants more than one opinion.

LOMMA (Nguyen et al., CVPR 2023) distils three from the victim's weights; who gets answers alone can do the same with
what it was told.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.data.splits import Dataset
from cutlayer.nets.remembered import remembered
from cutlayer.training import optimize

WIDTHS = (8, 12, 16)
"""Channels of the first layer of each student."""


def distilled(
    images: Tensor, answers: Tensor, *, n: int, steps: int, seed: int, device: torch.device
) -> tuple[nn.Module, ...]:
    """Networks of different widths, frozen and in evaluation mode, that answer these images alike; remembered.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        answers: ``(N, classes)`` probabilities; those of a label are 0 and 1.
        n: Number of networks.
        steps: Least number of training steps of each.
        seed: Seed of every random choice.
        device: Where the networks are at the end, and learn.
    """
    rows = Dataset(images.cpu().numpy(), torch.arange(len(images)).numpy())
    told = answers.float().to(device)

    def train() -> nn.ModuleList:
        return nn.ModuleList(_taught(rows, told, WIDTHS[k % len(WIDTHS)], steps, seed + k) for k in range(n))

    settings = "students", n, steps, seed, tuple(images.shape), device
    return tuple(remembered(settings, (images, told), train))


def _taught(rows: Dataset, told: Tensor, width: int, steps: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = student(width, rows.shape, told.shape[1])

    def loss(x: Tensor, row: Tensor, _: object) -> Tensor:
        return functional.kl_div(functional.log_softmax(network(x).float(), 1), told[row], reduction="batchmean")

    batch = min(64, len(rows))
    optimize([network], rows, loss, epochs=-(-steps * batch // len(rows)), seed=seed, batch=batch, device=told.device)
    return network.to(told.device).eval().requires_grad_(False)


def student(width: int, image: tuple[int, ...], classes: int) -> nn.Sequential:
    """A network ``(N, *image)`` -> ``(N, classes)`` of three convolutions."""
    layers: list[nn.Module] = []
    before = image[0]
    for channels in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * before, classes))
