"""FSIM: likeness of phase congruency and of the gradient, where either image has features.

L. Zhang et al., "FSIM: A Feature Similarity Index for Image Quality Assessment", IEEE TIP 2011,
https://doi.org/10.1109/TIP.2011.2109730; FSIMc, with the colors, for images of three channels. The package piq computes
it. The widest of its filters spans 48 px, so that images of 32 px and less are judged by the narrower ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor

_PIXELS = 1 << 17
"""Pixels that are transformed at a time, of which each becomes about 100 numbers."""


def feature_similarity(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """FSIM of each image, ``(N,)`` in [0, 1]: FSIMc for three channels."""
    import torch

    from cutlayer.nets import _torchvision  # noqa: F401  # without which piq cannot import it
    from piq import fsim  # isort: skip

    channels, height, width = originals.shape[1:]
    batch = max(1, _PIXELS // (height * width))
    pairs = zip(reconstructions.split(batch), originals.split(batch), strict=True)
    with torch.inference_mode():
        return torch.cat([fsim(x, y, reduction="none", chromatic=channels == 3) for x, y in pairs])


FSIM = Metric("FSIM", "likeness of edges and other features; 1 is the same picture.", "high", feature_similarity)
