import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from cutlayer.data.load import data_root, load
from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError, DataError
from cutlayer.registry import DATASETS

PARTS = ("train", "auxiliary", "private", "test")
EMBEDDED = {"digits": (898, 449, 225, 225), "faces": (100, 50, 25, 25), "photos": (8000, 4000, 1000, 1000)}
PEOPLE = ("lfw", "lfw-32", "att-faces")
ON_DISK = {
    "mnist": (30000, 30000, 5000, 5000),
    "fashion-mnist": (30000, 30000, 5000, 5000),
    "cifar10": None,
    "cifar100": None,
}
ON_DISK |= dict.fromkeys(PEOPLE)


def load_or_skip(name: str, seed: int = 0) -> Splits:
    if name in ON_DISK and "CUTLAYER_DATA" not in os.environ:
        pytest.skip("CUTLAYER_DATA names no folder with the original files")
    try:
        return load(name, seed=seed)
    except DataError as error:
        pytest.skip(str(error))


def hashes(images: np.ndarray) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def test_every_registered_data_set_is_tested_here():
    assert set(EMBEDDED) | set(ON_DISK) == set(DATASETS)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_the_parts_are_images_and_share_none(name):
    splits = load_or_skip(name)
    assert splits.name == name
    seen: dict[str, str] = {}
    for part in PARTS:
        data = getattr(splits, part)
        assert data.inputs.dtype == np.float32
        assert data.inputs.flags.c_contiguous
        assert data.inputs.shape == (len(data), *splits.input.shape)
        assert data.inputs.min() >= 0
        assert (0.8 if name in PEOPLE else 0.99) < data.inputs.max() <= 1
        assert data.labels.dtype == np.int64
        assert data.labels.shape == (len(data),)
        labels, known = set(data.labels.tolist()), set(range(len(splits.classes)))
        # The attacker's people are other ones than the victims'.
        assert labels < known if name in PEOPLE else labels == known
        for digest in hashes(data.inputs):
            assert seen.setdefault(digest, part) == part
    if sizes := (EMBEDDED | ON_DISK)[name]:
        assert tuple(len(getattr(splits, part)) for part in PARTS) == sizes


@pytest.mark.parametrize("name", sorted(EMBEDDED))
def test_the_seed_decides_the_parts(name):
    first, again, other = (hashes(load(name, seed=seed).private.inputs) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_root_is_the_argument_then_the_environment_then_data(monkeypatch):
    monkeypatch.setenv("CUTLAYER_DATA", "/from/environment")
    assert data_root("/given") == Path("/given")
    assert data_root() == Path("/from/environment")
    monkeypatch.delenv("CUTLAYER_DATA")
    assert data_root() == Path("data")


@pytest.mark.parametrize(
    ("name", "looked_for"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte is missing"),
        ("fashion-mnist", "FashionMNIST/raw/train-images-idx3-ubyte is missing"),
        ("cifar10", "cifar-10-batches-bin/data_batch_1.bin is missing"),
        ("cifar100", "cifar-100-binary/train.bin is missing"),
        ("lfw", "lfwcrop with its .pgm files is missing"),
        ("att-faces", "orl_faces with its .pgm files is missing"),
    ],
)
def test_a_missing_file_is_named_with_where_it_can_be_had(tmp_path, name, looked_for):
    with pytest.raises(DataError, match=f"{looked_for}.*--data-root or CUTLAYER_DATA.*(download=True|https)"):
        load(name, tmp_path)


def test_an_unknown_name_is_answered_with_a_near_one():
    with pytest.raises(ConfigError, match="did you mean mnist"):
        load("mnits")


@pytest.mark.parametrize(("name", "package"), [("digits", "sklearn"), ("faces", "skimage"), ("photos", "skimage")])
def test_an_absent_package_is_answered_with_the_extra_that_brings_it(monkeypatch, name, package):
    for module in (package, f"{package}.datasets", f"{package}.data"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ConfigError, match=r"cutlayer\[lab\]"):
        load(name)
