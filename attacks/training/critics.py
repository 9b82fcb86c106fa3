"""Critics of features and of images, with or without the class of a sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.nets.grid import Grid


class Critic(nn.Module):
    """Score samples, ``(N, *shape)`` and perhaps labels ``(N,)`` -> ``(N,)``.

    Convolutions halve the sides down to 4. A class enters as the product of its own vector and the features (T. Miyato,
    M. Koyama, "cGANs with Projection Discriminator", ICLR 2018). There is no batch normalization, so that a gradient
    penalty is that of each sample.

    Args:
        shape: Shape of a sample.
        classes: Number of classes; 0 where the class is not known.
        width: Channels.
    """

    def __init__(self, shape: tuple[int, ...], classes: int = 0, width: int = 64) -> None:
        super().__init__()
        self.grid = Grid(shape, (1, 8, 8))
        side = min(shape[1:]) if self.grid.layout == "channels first" else 8
        layers: list[nn.Module] = [nn.Conv2d(self.grid.channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        while side > 4:
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
            side = -(-side // 2)
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        self.body = nn.Sequential(*layers)
        self.score = nn.Linear(16 * width, 1)
        self.of_class = nn.Embedding(classes, 16 * width) if classes else None

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        """See the class."""
        features = self.body(self.grid(samples))
        scores: Tensor = self.score(features)[:, 0]
        if self.of_class is not None and labels is not None:
            scores = scores + (self.of_class(labels) * features).mean(1)
        return scores


def told_apart(real: Tensor, made: Tensor) -> Tensor:
    """The loss of a critic that gives logits: binary cross-entropy of ``real`` as 1 and ``made`` as 0."""
    ones, zeros = torch.ones_like(real), torch.zeros_like(made)
    return functional.binary_cross_entropy_with_logits(real, ones) + functional.binary_cross_entropy_with_logits(
        made, zeros
    )


def deceived(made: Tensor) -> Tensor:
    """The loss of what a critic shall take for real: binary cross-entropy of its logits as 1."""
    return functional.binary_cross_entropy_with_logits(made, torch.ones_like(made))


def gradient_penalty(critic: Critic, real: Tensor, made: Tensor, random: torch.Generator) -> Tensor:
    """``E (|grad D| - 1)^2`` at random points between samples of two batches of one size."""
    share = torch.rand(len(real), *[1] * (real.dim() - 1), generator=random).to(real)
    between = torch.lerp(real, made, share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def mk_mmd(first: Tensor, second: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two batches of one size, over Gaussian kernels of five widths.

    The widths are the mean squared distance times ``2^k``, k from -3 to 1, as in FORA. The sum over a batch with itself
    is left out of the mean, so that the estimate has no bias.
    """
    n = len(first)
    both = torch.cat([first.flatten(1), second.flatten(1)])
    squared = torch.cdist(both, both).square()
    scale = squared.detach().sum() / (len(both) * (len(both) - 1))
    kernel = torch.stack([(-squared / (scale * 2.0**k).clamp(min=1e-12)).exp() for k in range(-3, 2)]).mean(0)
    within = (kernel[:n, :n].sum() + kernel[n:, n:].sum() - 2 * n) / (n * (n - 1))
    return within - 2 * kernel[:n, n:].mean()
