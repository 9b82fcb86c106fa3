"""A victim that learns in a moment, for the tests of defenses that train."""

import numpy as np
import torch
from torch import nn

from cutlayer.data.splits import Dataset, Splits
from cutlayer.models.halves import SplitModel, split
from cutlayer.spec import image_spec
from cutlayer.training import train

IMAGE = image_spec(1, 8, 8)


def shades(n: int = 96) -> Splits:
    """Dark and bright images."""
    generator = np.random.default_rng(0)
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
    """Of the whole on the test part, behind fresh draws."""
    rng, right = np.random.default_rng(9), 0
    with torch.no_grad():
        for _ in range(releases):
            logits = split.tail(protect(split.head(torch.from_numpy(data.test.inputs)), rng))
            right += int((logits.argmax(1).numpy() == data.test.labels).sum())
    return right / (releases * len(data.test))
