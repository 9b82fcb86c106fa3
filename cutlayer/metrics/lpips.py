"""LPIPS: the distance of two images in the layers of a network that was trained on ImageNet.

R. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
https://arxiv.org/abs/1801.03924, equation 1, version 0.1 of the linear weights, which torchmetrics brings. The networks
are torchvision's; their weights are a file, see `cutlayer.metrics.weights`.

Gray images are given to the network as three equal channels. Images with a side of less than 32 px are enlarged to it
(bilinear), for the networks shrink them to nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from cutlayer.errors import ConfigError
from cutlayer.machine.compute import pick_device
from cutlayer.metrics.base import Metric
from cutlayer.metrics.weights import WeightsFile, tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

LEAST_SIDE = 32
_BATCH = 64
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # lpips.py of the authors, ScalingLayer
_LAYERS = {
    "alex": ("alexnet", (1, 4, 7, 9, 11)),
    "squeeze": ("squeezenet1_1", (1, 4, 7, 9, 10, 11, 12)),
    "vgg": ("vgg16", (3, 8, 15, 22, 29)),
}
"""Name of the linear weights -> the network in torchvision, and the places of its features that are compared."""


def distances(kind: str, reconstructions: Tensor, originals: Tensor, *_: Tensor, weights: Path) -> Tensor:
    """The distance of each pair of images, ``(N,)``, 0 for equal ones.

    Args:
        kind: A name in `_LAYERS`.
        reconstructions: ``(N, C, H, W)`` in [0, 1], with 1 or 3 channels.
        originals: ``(N, C, H, W)``.
        weights: File of the network's weights.
    """
    import torch

    network, linear = _network(kind, weights, weights.stat().st_mtime_ns)
    found = []
    with torch.inference_mode():
        for pair in zip(reconstructions.split(_BATCH), originals.split(_BATCH), strict=True):
            layers = zip(*(_features(kind, network, _prepared(images)) for images in pair), strict=True)
            found.append(
                sum(((a - b).square() * w).sum(1).mean((1, 2)) for (a, b), w in zip(layers, linear, strict=True))
            )
    return torch.cat(found).to(reconstructions.device, reconstructions.dtype)


def _prepared(images: Tensor) -> Tensor:
    """Images in [0, 1] as the networks take them."""
    import torch
    from torch.nn import functional

    images = images.to(pick_device(), torch.float32).expand(-1, 3, -1, -1)
    if (side := min(images.shape[2:])) < LEAST_SIDE:
        size = [-(-length * LEAST_SIDE // side) for length in images.shape[2:]]
        images = functional.interpolate(images, size, mode="bilinear", align_corners=False)
    shift, scale = (images.new_tensor(values)[:, None, None] for values in (_SHIFT, _SCALE))
    return (2 * images - 1 - shift) / scale


def _features(kind: str, network: nn.Sequential, images: Tensor) -> list[Tensor]:
    """The compared layers, each position a vector of length 1."""
    layers, kept = _LAYERS[kind][1], []
    for place, layer in enumerate([*network][: layers[-1] + 1]):
        images = layer(images)
        if place in layers:
            kept.append(images / (images.square().sum(1, keepdim=True) + 1e-8).sqrt())
    return kept


@cache
def _network(kind: str, path: Path, changed_ns: int) -> tuple[nn.Sequential, list[Tensor]]:
    """The features of a network, and the weights of the channels of each compared layer, ``(1, channels, 1, 1)``."""
    import torch

    from cutlayer.nets._torchvision import models

    name, layers = _LAYERS[kind]
    with torch.device("meta"):
        features = getattr(models, name)().features
    given = {key.removeprefix("features."): value for key, value in tensors(path).items() if "features." in key}
    try:
        features.load_state_dict(given, assign=True)
    except RuntimeError:
        raise ConfigError(
            f"{path} does not hold the features of torchvision's {name}; put its weights there."
        ) from None
    linear = tensors(_linear(kind))
    device = pick_device()
    return features.eval().to(device), [linear[f"lin{i}.model.1.weight"].to(device) for i in range(len(layers))]


def _linear(kind: str) -> Path:
    """The linear weights inside torchmetrics, whose import would take a second."""
    found = importlib.util.find_spec("torchmetrics")
    if found is None or found.origin is None:
        raise ConfigError("LPIPS needs torchmetrics: pip install 'cutlayer[lab]'.")
    return Path(found.origin).parent / "functional" / "image" / "lpips_models" / f"{kind}.pth"


def _metric(kind: str, title: str, *published: str) -> Metric:
    network = _LAYERS[kind][0]
    measure: Callable[..., Tensor] = partial(distances, kind)
    return Metric(
        title, f"distance as people see it, in the layers of {title.removeprefix('LPIPS ')}; 0 is the same picture.",
        "low", measure, weights=WeightsFile(
            (f"{network}_features.npz", *published), f"https://download.pytorch.org/models/{published[0]}"
        ),
    )  # fmt: skip


ALEX = _metric("alex", "LPIPS AlexNet", "alexnet-owt-7be5be79.pth")
SQUEEZE = _metric("squeeze", "LPIPS SqueezeNet", "squeezenet1_1-b8a52dc0.pth")
VGG = _metric("vgg", "LPIPS VGG-16", "vgg16-397923af.pth")
