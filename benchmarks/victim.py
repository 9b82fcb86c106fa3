"""The victim of the benchmarks: VGG-11-BN for 32x32 images, cut at features.7."""

import numpy as np
import torch
from torch import Tensor

from cutlayer.attacks.view import Access, View
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import Defense
from cutlayer.models.halves import SplitModel, split
from cutlayer.models.zoo import build
from cutlayer.privacy.view import view
from cutlayer.spec import image_spec
from cutlayer.training import train

MODEL, CUT, IMAGE = "vgg11_bn", "features.7", image_spec(3, 32, 32)


def images(n: int, seed: int) -> Tensor:
    """Smooth random images, ``(n, 3, 32, 32)`` in [0, 1]."""
    coarse = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 1)


def untrained(n_auxiliary: int) -> View:
    """All that a white-box attacker may use, on the CPU; the network is not trained, which changes no timing."""
    auxiliary = Dataset(images(n_auxiliary, seed=1).numpy(), np.zeros(n_auxiliary, np.int64))
    return white_box(split(build(MODEL, IMAGE, 10), CUT, IMAGE), auxiliary, torch.device("cpu"))


def trained(n_private: int, n_auxiliary: int, n_train: int = 1000) -> tuple[View, Tensor]:
    """The view with a network trained on a few photographs for one epoch, and private photographs to rebuild."""
    data = load("photos")
    model = build(MODEL, data.input, len(data.classes))
    train(model, data.train.take(n_train), epochs=1, seed=0)
    seen = white_box(split(model, CUT, IMAGE), data.auxiliary.take(n_auxiliary), torch.device("cpu"))
    return seen, torch.from_numpy(data.private.inputs[:n_private])


def white_box(halves: SplitModel, auxiliary: Dataset, device: torch.device) -> View:
    """What a white-box attacker may use of undefended halves on a device."""

    @torch.inference_mode()
    def query(batch: Tensor) -> Tensor:
        sent: Tensor = halves.head(batch.to(device)).clone()
        return sent

    return view(
        Access.WHITE_BOX, input=halves.input, smashed=halves.smashed, auxiliary=auxiliary, query=query,
        defense=Defense(), tail=halves.tail, head=halves.head, device=device,
    )  # fmt: skip
