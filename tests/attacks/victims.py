"""Small victims whose leakage is known in advance."""

import numpy as np
import torch
from torch import Tensor, nn

from defenses.base import Defense

IMAGE = (1, 6, 6)


class Noise(Defense):
    """Gaussian noise of a fixed deviation, drawn by numpy."""

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma
        self.random = sigma > 0

    def protect(self, smashed, rng):
        return smashed + torch.from_numpy(rng.normal(0, self.sigma, tuple(smashed.shape)).astype(np.float32))


class Drop(Defense):
    """Set each value to zero with this probability, drawn by numpy."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.random = rate > 0

    def protect(self, smashed, rng):
        return smashed * torch.from_numpy((rng.random(tuple(smashed.shape)) >= self.rate).astype(np.float32))


class Largest(Defense):
    """Keep the `k` values of each input that are largest by magnitude."""

    def __init__(self, k: int) -> None:
        self.k = k

    def protect(self, smashed, rng):
        flat = smashed.flatten(1)
        kept = torch.zeros_like(flat).scatter_(1, flat.abs().topk(self.k, dim=1).indices, 1.0)
        return smashed * kept.reshape(smashed.shape)


def smooth_images(n: int, seed: int, shape: tuple[int, int, int] = IMAGE) -> Tensor:
    """Images in [0, 1] with correlated pixels, so that there is something to learn from a data set."""
    coarse = torch.rand(n, shape[0], 3, 3, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, shape[1:], mode="bilinear").contiguous()


def linear_head(rows: int = 64, seed: int = 0) -> nn.Module:
    """Flatten and multiply by a well-conditioned matrix: invertible when `rows` is at least the number of pixels."""
    pixels = int(np.prod(IMAGE))
    head = nn.Sequential(nn.Flatten(), nn.Linear(pixels, rows))
    weights = torch.randn(max(rows, pixels), pixels, generator=torch.Generator().manual_seed(seed))
    head[1].weight.data = torch.linalg.qr(weights)[0][:rows].contiguous()
    return head.eval()


def convolutional_head() -> nn.Module:
    """A convolution, BN and ReLU that halve the image: smashed data of 8x3x3."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()).eval()


def constant_head() -> nn.Module:
    """A head that tells nothing: ones, whatever it is shown."""
    head = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1)).eval()
    head[0].weight.data.zero_()
    head[0].bias.data.fill_(1)
    return head
