"""FID: how far the reconstructions, as a set, are from the originals, in the features of the Inception network.

M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017,
https://arxiv.org/abs/1706.08500. The network is the one of the authors' program, in the version for torch, with its
differences from torchvision's; its weights are a file, see `cutlayer.metrics.weights`. Images are scaled to 299 px
(bilinear); gray ones are three equal channels.

The score of few images is too high, for their covariance is known badly: scores of different numbers of images cannot
be compared, and below about 2,000 images those of equal numbers only with care.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cutlayer.errors import ConfigError
from cutlayer.machine.compute import pick_device
from cutlayer.metrics.base import Metric
from cutlayer.metrics.weights import WeightsFile, tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIDE, _BATCH = 299, 32


def inception_distance(reconstructions: Tensor, originals: Tensor, *_: Tensor, weights: Path) -> Tensor:
    """The Frechet distance of the two sets in the features of the network, ``()``; NaN for fewer than two images."""
    if len(originals) < 2:
        return originals.new_tensor(float("nan"))
    network = _network(weights, weights.stat().st_mtime_ns)
    return frechet_distance(*(features(network, images) for images in (reconstructions, originals))).cpu()


def frechet_distance(a: Tensor, b: Tensor) -> Tensor:
    """The squared Frechet distance of two normal distributions with the means and covariances of the samples, ``()``.

    With the centered samples A and B, divided by the roots of n - 1, the trace of the root of the product of the
    covariances is the sum of the singular values of A B^T, so that no root of a matrix is taken.

    Args:
        a: ``(N, D)``, N at least 2.
        b: ``(M, D)``, M at least 2.
    """
    import torch

    a, b = a.double(), b.double()
    centered = []
    for samples in (a, b):
        factor = (samples - samples.mean(0)) / (len(samples) - 1) ** 0.5
        centered.append(torch.linalg.qr(factor, mode="r").R if len(factor) > factor.shape[1] else factor)
    root = torch.linalg.svdvals(centered[0] @ centered[1].T).sum()
    spread = torch.stack([factor.square().sum() for factor in centered]).sum()
    distance: Tensor = (a.mean(0) - b.mean(0)).square().sum() + spread - 2 * root
    return distance.clamp(min=0)


def features(network: nn.Module, images: Tensor) -> Tensor:
    """The pooled features of images in [0, 1], ``(N, 2048)``."""
    import torch
    from torch.nn.functional import interpolate

    found = []
    with torch.inference_mode():
        for part in images.split(_BATCH):
            part = part.to(pick_device(), torch.float32).expand(-1, 3, -1, -1)
            large = interpolate(part, (_SIDE, _SIDE), mode="bilinear", align_corners=False)
            found.append(network(2 * large - 1))
    return torch.cat(found)


@cache
def _network(path: Path, changed_ns: int) -> nn.Module:
    """The Inception network of FID, up to its pooled features."""
    import torch
    from torch import nn

    network = architecture()
    try:
        network.load_state_dict(tensors(path), assign=True)
    except RuntimeError:
        raise ConfigError(f"{path} does not hold the weights of FID's Inception network; fetch it again.") from None
    network.fc = nn.Identity()
    return network.eval().to(torch.device(pick_device()))


def architecture() -> nn.Module:
    """The network without weights: torchvision's, with the blocks in which FID's differs from it."""
    import torch

    from cutlayer.nets._torchvision import models
    from piq.feature_extractors import fid_inception as blocks  # isort: skip

    with torch.device("meta"):
        network: nn.Module = models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
        for name, block in {
            "5b": blocks.FIDInceptionA(192, pool_features=32),
            "5c": blocks.FIDInceptionA(256, pool_features=64),
            "5d": blocks.FIDInceptionA(288, pool_features=64),
            "6b": blocks.FIDInceptionC(768, channels_7x7=128),
            "6c": blocks.FIDInceptionC(768, channels_7x7=160),
            "6d": blocks.FIDInceptionC(768, channels_7x7=160),
            "6e": blocks.FIDInceptionC(768, channels_7x7=192),
            "7b": blocks.FIDInceptionE1(1280),
            "7c": blocks.FIDInceptionE2(2048),
        }.items():
            setattr(network, f"Mixed_{name}", block)
    return network


FID = Metric(
    "FID",
    "distance of all reconstructions together from all originals; 0 is the same set. Too high for fewer than 2,000.",
    "low", inception_distance, digits=1, of_set=True, fewest=2000, weights=WeightsFile(
        ("pt_inception-2015-12-05-6726825d.pth",), "https://github.com/mseitzer/pytorch-fid/releases, fid_weights"
    ),
)  # fmt: skip
