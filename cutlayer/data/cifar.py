"""CIFAR-10 and CIFAR-100 from their original binary files.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
The attribute ``animal`` of CIFAR-10 follows from the class.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from cutlayer.data.parts import from_train_and_test, labelled
from cutlayer.data.splits import Splits
from cutlayer.data.stored import Pixels, Stored
from cutlayer.errors import DataError

TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
HUNDRED = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)  # fmt: skip
_SHAPE = (3, 32, 32)


def load_cifar10(root: Path, seed: int) -> Splits:
    """Photographs of things and animals, 32x32 RGB: 25,000 train, 25,000 auxiliary, 5,000 private, 5,000 test.

    With fewer than the five files of training batches, train and auxiliary are smaller.
    """
    folder = root / "cifar-10-batches-bin"
    batches = [path for i in range(1, 6) if (path := folder / f"data_batch_{i}.bin").exists()]
    train = read_batches(batches or [folder / "data_batch_1.bin"], TEN)
    train, test = (_with_animals(part) for part in (train, read_batches([folder / "test_batch.bin"], TEN)))
    return replace(from_train_and_test("cifar10", TEN, train, test, seed), attributes=("animal",))


def _with_animals(part: Stored) -> Stored:
    """The same images, each with the attribute ``animal``."""
    animal = np.isin(part.labels, [TEN.index(name) for name in ANIMALS])
    return Stored(part.source, part.labels, part.places, attributes=animal[:, None].astype(np.int8))


def load_cifar100(root: Path, seed: int) -> Splits:
    """Photographs of a hundred kinds, 32x32 RGB: 25,000 train, 25,000 auxiliary, 5,000 private, 5,000 test."""
    # Each label is preceded by that of the group of classes it belongs to, one of 20, which is not used.
    train, test = (read_batches([root / "cifar-100-binary" / f"{part}.bin"], HUNDRED, 2) for part in ("train", "test"))
    return from_train_and_test("cifar100", HUNDRED, train, test, seed)


def read_batches(paths: Sequence[Path], classes: tuple[str, ...], labels: int = 1) -> Stored:
    """The images of these files, one after another. An image is read when it is asked for.

    A file holds for each image its labels and its pixels, a byte each, channel by channel.

    Args:
        paths: The files.
        classes: Names of the classes that the last label of an image numbers.
        labels: Number of labels of an image.

    Raises:
        DataError: A file is missing, damaged or of another kind.
    """
    version, length = f"cifar-{len(classes)}-binary", labels + prod(_SHAPE)
    pixels, numbers = [], []
    for path in paths:
        if not path.exists():
            raise DataError(
                f"{path} is missing; name the folder that holds {path.parent.name} with --data-root or CUTLAYER_DATA "
                f"(https://www.cs.toronto.edu/~kriz/{version}.tar.gz unpacks to it)."
            )
        size = path.stat().st_size
        if size == 0 or size % length:
            raise DataError(
                f"{path} is damaged, or not a file of {version}.tar.gz: its size, {size:,} bytes, is no multiple of "
                f"{length:,}; fetch it again."
            )
        records = np.memmap(path, np.uint8, "r").reshape(-1, length)
        pixels.append(records[:, labels:].reshape(-1, *_SHAPE))
        numbers.append(labelled(len(records), path, records[:, labels - 1], path, classes))
    return Stored(Pixels(*pixels), np.concatenate(numbers))
