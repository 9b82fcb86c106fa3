"""MS-SSIM: structural similarity at several sizes of the images.

Z. Wang, E. Simoncelli, A. Bovik, "Multiscale structural similarity for image quality assessment", Asilomar 2003,
equation 7, with the published exponents. Each scale halves both sides (the mean of each four pixels), and its mean is
over positions and channels.

Five scales need images of 176 px. A smaller image is compared at as many scales as leave the window of 11 px room, and
their exponents are scaled to the same sum: 28 and 32 px have 2 scales, 64 px have 3. So scores of images of different
sizes cannot be compared. An image of less than 22 px has one scale, and its MS-SSIM is its SSIM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric
from cutlayer.metrics.image import WINDOW, contrast_similarity, structural_similarity

if TYPE_CHECKING:
    from torch import Tensor

_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ms_ssim(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """Multi-scale structural similarity of each image, ``(N,)`` in [0, 1]; a negative factor counts as 0."""
    import torch
    from torch.nn.functional import avg_pool2d

    x, y = reconstructions.double(), originals.double()
    side = min(y.shape[2:])
    scales = max(1, sum(side // 2**i >= WINDOW for i in range(len(_EXPONENTS))))
    if scales == 1:
        return structural_similarity(x, y).to(reconstructions.dtype)
    factors = []
    for _scale in range(scales - 1):
        factors.append(contrast_similarity(x, y))
        x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    factors.append(structural_similarity(x, y))
    exponents = x.new_tensor(_EXPONENTS[:scales]) * (sum(_EXPONENTS) / sum(_EXPONENTS[:scales]))
    product = torch.stack(factors, 1).clamp(min=0).pow(exponents).prod(1)
    return product.to(reconstructions.dtype)


MS_SSIM = Metric(
    "MS-SSIM", "structural similarity at several sizes of the picture; 1 is the same picture.", "high", ms_ssim
)
