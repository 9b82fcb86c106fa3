"""The victim of the benchmarks: VGG-11-BN for 32x32 images, cut at features.7, with untrained weights."""

import numpy as np
import torch
from torch import Tensor

from attacks.base import View
from cutlayer.data.splits import Dataset
from cutlayer.models.split import split
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec
from defenses.base import Defense

MODEL, CUT, IMAGE = "vgg11_bn", "features.7", image_spec(3, 32, 32)


def images(n: int, seed: int) -> Tensor:
    """Smooth random images, ``(n, 3, 32, 32)`` in [0, 1]."""
    coarse = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 1)


def view(n_auxiliary: int) -> View:
    """All that a white-box attacker is granted, on the CPU."""
    half = split(build(MODEL, IMAGE, 10), CUT, IMAGE)
    auxiliary = Dataset(images(n_auxiliary, seed=1).numpy(), np.zeros(n_auxiliary, np.int64))

    @torch.inference_mode()
    def query(batch: Tensor) -> Tensor:
        return half.head(batch).clone()

    device = torch.device("cpu")
    return View(IMAGE, half.smashed, auxiliary, half.tail, device, 0, False, query, half.head, Defense())
