"""Large sets of photographs that are folders of files: ImageNet and FFHQ.

O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, https://image-net.org: the
task of 2012, one folder for each class in `train` and in `val`. Names of the classes are taken from synset_words.txt or
LOC_synset_mapping.txt, where one of them is there.
T. Karras, S. Laine, T. Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019,
https://github.com/NVlabs/ffhq-dataset: faces without labels, in any of their sizes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cutlayer.data.folder import open_folder
from cutlayer.data.images import ImageFiles
from cutlayer.data.listed import Archive
from cutlayer.data.parts import dealt
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.data.stored import Stored

IMAGENET_SHAPE, FFHQ_SHAPE = (3, 224, 224), (3, 64, 64)
WORDS = ("synset_words.txt", "LOC_synset_mapping.txt")
FFHQ_TRAINING = 60_000
"""Faces whose number is less are the authors' training part, the others their validation part."""
_IMAGENET = Archive(
    "imagenet", f"the folders train and val with a folder of images for each class, and perhaps {WORDS[0]}",
    "https://image-net.org/download-images.php",
)  # fmt: skip
_FFHQ = Archive(
    "ffhq", "the faces, in folders or none, named by their number", "https://github.com/NVlabs/ffhq-dataset"
)


def load_imagenet(root: Path, seed: int, shape: tuple[int, ...] | None = None) -> Splits:
    """Photographs of a thousand kinds, 224x224 RGB: train and auxiliary from `train`, private and test from `val`."""
    folder = root / "imagenet"
    for part in ("train", "val"):
        if not any((folder / part).glob("*/")):
            raise _IMAGENET.missing(folder / part)
    splits = open_folder(folder, "imagenet", seed, shape, IMAGENET_SHAPE)
    words = next((folder / name for name in WORDS if (folder / name).is_file()), None)
    if words is None:
        return splits
    lines = (line.partition(" ") for line in _IMAGENET.text(words).splitlines())
    named = {synset: title.strip() for synset, _, title in lines}
    return replace(splits, classes=tuple(named.get(name, name) for name in splits.classes))


def load_ffhq(root: Path, seed: int, shape: tuple[int, ...] | None = None) -> Splits:
    """Faces in photographs, 64x64 RGB, without classes; 60,000 for train and auxiliary, 10,000 for private and test."""
    files = sorted(_FFHQ.pictures(root / "ffhq").items())
    source = ImageFiles([path for _, path in files], shape or FFHQ_SHAPE)
    data = Stored(source, np.full(len(files), NO_CLASS, np.int64))
    numbers = [Path(name).stem for name, _ in files]
    later = np.array([number.isdigit() and int(number) >= FFHQ_TRAINING for number in numbers])
    parts: list[Dataset] = [data]
    if later.any() and not later.all():
        parts = [data.at(np.flatnonzero(~later)), data.at(np.flatnonzero(later))]
    return Splits("ffhq", (), *dealt(parts, seed))
