"""The victim of the benchmarks: VGG-11-BN for 32x32 images, cut at features.7."""

import numpy as np
import torch
from torch import Tensor, nn

from attacks.view import Access, View
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset
from cutlayer.models.halves import split
from cutlayer.models.zoo import build
from cutlayer.privacy.view import view
from cutlayer.spec import image_spec
from cutlayer.training import train
from defenses.base import Defense

MODEL, CUT, IMAGE = "vgg11_bn", "features.7", image_spec(3, 32, 32)


def images(n: int, seed: int) -> Tensor:
    """Smooth random images, ``(n, 3, 32, 32)`` in [0, 1]."""
    coarse = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 1)


def untrained(n_auxiliary: int) -> View:
    """All that a white-box attacker may use, on the CPU; the network is not trained, which changes no timing."""
    auxiliary = Dataset(images(n_auxiliary, seed=1).numpy(), np.zeros(n_auxiliary, np.int64))
    return _view(build(MODEL, IMAGE, 10), auxiliary)


def trained(n_private: int) -> tuple[View, Tensor]:
    """The view with a network trained on photographs for one epoch, and private photographs to rebuild."""
    data = load("photos")
    model = build(MODEL, data.input, len(data.classes))
    train(model, data.train, epochs=1, seed=0)
    return _view(model, data.auxiliary), torch.from_numpy(data.private.inputs[:n_private])


def _view(model: nn.Module, auxiliary: Dataset) -> View:
    half = split(model, CUT, IMAGE)

    @torch.inference_mode()
    def query(batch: Tensor) -> Tensor:
        sent: Tensor = half.head(batch).clone()
        return sent

    return view(
        Access.WHITE_BOX, input=IMAGE, smashed=half.smashed, auxiliary=auxiliary, query=query, defense=Defense(),
        tail=half.tail, head=half.head, device=torch.device("cpu"),
    )  # fmt: skip
