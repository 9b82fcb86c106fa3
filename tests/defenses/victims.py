"""Victims that learn in a moment, for the tests of defenses that train."""

import functools

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.surrogate import Surrogate
from cutlayer.models.halves import SplitModel, split
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec
from cutlayer.training import train

IMAGE, SMOOTH = image_spec(1, 8, 8), image_spec(1, 16, 16)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shades(n: int = 96) -> Splits:
    """Dark and bright images."""
    generator = rng()
    labels = generator.integers(2, size=n)
    images = (generator.random((n, *IMAGE.shape)) * 0.5 + labels[:, None, None, None] * 0.4).astype(np.float32)
    data = Dataset(images, labels)
    return Splits("made", ("dark", "bright"), data, data, data, data)


def small_split(trained_epochs: int = 0) -> SplitModel:
    """A convolution, BN and ReLU, smashed data of 4x6x6; then one linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    train(model, shades().train, epochs=trained_epochs, seed=0)
    return split(model, "2", IMAGE)


def accuracy(split: SplitModel, protect, data: Splits, releases: int = 5) -> float:
    """Accuracy of the whole model on the test part, behind fresh draws."""
    draws, correct = rng(9), 0
    with torch.no_grad():
        for _ in range(releases):
            logits = split.tail(protect(split.head(torch.from_numpy(data.test.inputs)), draws))
            correct += int((logits.argmax(1).numpy() == data.test.labels).sum())
    return correct / (releases * len(data.test))


@functools.cache
def smooth_images(n: int = 160) -> Splits:
    """Images with correlated pixels, dark or bright in the mean."""
    coarse = torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    images = interpolate(coarse, SMOOTH.shape[1:], mode="bilinear").contiguous()
    part = Dataset(images.numpy(), (images.mean((1, 2, 3)) > 0.5).long().numpy())
    return Splits("made", ("dark", "bright"), part, part, part, part)


def small_lenet(classes: int = 2, seed: int = 0) -> SplitModel:
    """A LeNet for `smooth_images`, cut behind its first ReLU."""
    return split(build("he_lenet", SMOOTH, classes, seed), "ReLU1", SMOOTH)


def last_quality(monkeypatch, defense: Defense) -> float:
    """The quality of the defender's decoder at the end of the training, mean of the last few batches."""
    qualities, quality = [], Surrogate.quality

    def recorded(surrogate: Surrogate, smashed: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        qualities.append(quality(surrogate, smashed, images))
        return qualities[-1]

    monkeypatch.setattr(Surrogate, "quality", recorded)
    defense.harden(small_lenet(), smooth_images(), seed=0)
    monkeypatch.setattr(Surrogate, "quality", quality)
    return float(torch.stack(qualities[-4:]).detach().mean())
