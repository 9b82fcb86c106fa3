"""Small victims whose leakage is known in advance."""

import numpy as np
import torch
from torch import Tensor, nn

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import View

IMAGE = (1, 6, 6)


def smooth_images(n: int, seed: int, shape: tuple[int, int, int] = IMAGE) -> Tensor:
    """Images in [0, 1] with correlated pixels, so that there is something to learn from a data set."""
    coarse = torch.rand(n, shape[0], 3, 3, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, shape[1:], mode="bilinear").contiguous()


def error(attack: Attack, view: View, images: Tensor) -> float:
    """Mean squared error of the attack, fitted to the view, on what arrives for the images."""
    attack.fit(view)
    releases = torch.stack([view.query(images) for _ in range(attack.n_releases)])
    return float((attack.invert_releases(releases) - images).square().mean())


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


def classifier(values: int, classes: int = 3) -> nn.Module:
    """A tail that answers with a number for each class, and was never trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(values, classes)).eval()
