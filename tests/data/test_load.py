import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from cutlayer.data.load import data_root, load
from cutlayer.data.splits import NO_CLASS, Splits
from cutlayer.errors import ConfigError, DataError
from cutlayer.registry import DATASETS, Missing

PARTS = ("train", "auxiliary", "private", "test")


class Row(NamedTuple):
    """One registered data set.

    Attributes:
        needs: The module that it comes with, numpy if it needs no other, or what the error says of the missing file.
        sizes: Samples in each part; None where they depend on the files.
        greatest: A lower bound of the greatest value.
        other_people: Whether each class is missing from some part: the attacker's people, or the victims' photographs,
            are in no other one.
    """

    needs: str
    sizes: tuple[int, int, int, int] | None = None
    greatest: float = 0.99
    other_people: bool = False


ROWS = {
    "digits": Row("sklearn", (898, 449, 225, 225)),
    "faces": Row("skimage", (100, 50, 25, 25)),
    "photos": Row("skimage", (8000, 4000, 1000, 1000)),
    "photos-64": Row("skimage", (2000, 2000, 200, 200)),
    "photographs": Row("skimage", (7200, 3600, 1005, 1200), other_people=True),
    "mnist": Row("MNIST/raw/train-images-idx3-ubyte is missing", (30000, 30000, 5000, 5000)),
    "fashion-mnist": Row("FashionMNIST/raw/train-images-idx3-ubyte is missing", (30000, 30000, 5000, 5000)),
    "cifar10": Row("cifar-10-batches-bin/data_batch_1.bin is missing"),
    "cifar100": Row("cifar-100-binary/train.bin is missing"),
    "lfw": Row("lfwcrop with its .pgm files is missing", None, 0.8, True),
    "lfw-32": Row("lfwcrop with its .pgm files is missing", None, 0.8, True),
    "att-faces": Row("orl_faces with its .pgm files is missing", None, 0.8, True),
    "svhn": Row("svhn/train_32x32.mat is missing"),
    "celeba": Row("celeba/list_attr_celeba.txt is missing"),
    "imagenet": Row("imagenet/train is missing"),
    "ffhq": Row("ffhq is missing"),
    "chestxray8": Row("chestxray8/Data_Entry_2017.csv is missing"),
    "ham10000": Row("ham10000/HAM10000_metadata.csv is missing"),
    "bank-marketing": Row("bank-marketing/bank-full.csv is missing", (22606, 11303, 5651, 5651)),
    "bank-additional": Row("bank-marketing/bank-additional-full.csv is missing", (20594, 10297, 5149, 5148)),
    "breast-cancer": Row("sklearn"),
    "wine": Row("sklearn", greatest=0.9),
    "diabetes": Row("sklearn"),
    "documentation": Row("tokenizers"),
    "tones": Row("numpy", (800, 400, 200, 200)),
    "voices": Row("numpy", (400, 800, 200, 200), other_people=True),
    "random": Row("numpy", (4000, 2000, 1000, 1000)),
}
ON_DISK = [name for name, row in ROWS.items() if row.needs.endswith("missing")]
EMBEDDED = [name for name in ROWS if name not in ON_DISK]


def load_or_skip(name: str, seed: int = 0) -> Splits:
    try:
        return load(name, seed=seed)
    except DataError as error:
        pytest.skip(str(error))


def hashes(images: np.ndarray) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def test_every_registered_data_set_has_a_row():
    built = {
        name for name in DATASETS if not (isinstance(kind := DATASETS.load(name), type) and issubclass(kind, Missing))
    }
    assert ROWS.keys() == built


def test_graphs_are_refused_with_the_reason(tmp_path):
    with pytest.raises(ConfigError, match=r"without the neighbours' data there is no head\. Use images"):
        load("graphs")
    file = tmp_path / "karate.gml"
    file.write_text("graph [ node [ id 1 ] ]")
    with pytest.raises(DataError, match=r"karate\.gml is a file of a graph\. Graphs are not supported: "):
        load(str(file))


@pytest.mark.parametrize("name", ROWS)
def test_the_parts_are_of_one_modality_and_share_no_sample(name):
    splits, row = load_or_skip(name), ROWS[name]
    assert splits.name == name
    seen: dict[str, str] = {}
    for part in PARTS:
        data = getattr(splits, part)
        assert data.modality.name == splits.modality.name
        assert data.inputs.dtype == splits.input.dtype
        assert data.inputs.flags.c_contiguous
        assert data.inputs.shape == (len(data), *splits.input.shape)
        assert data.inputs.min() >= splits.input.low
        assert row.greatest < data.inputs.max() <= splits.input.high
        assert data.labels.dtype == np.int64
        assert data.labels.shape == (len(data),)
        labels, known = set(data.labels.tolist()), set(range(len(splits.classes)))
        assert labels < known if row.other_people else labels == (known or {NO_CLASS})
        for digest in hashes(data.inputs):
            assert seen.setdefault(digest, part) == part
    if row.sizes:
        assert tuple(len(getattr(splits, part)) for part in PARTS) == row.sizes


@pytest.mark.parametrize("name", EMBEDDED)
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


@pytest.mark.parametrize("name", ON_DISK)
def test_a_missing_file_is_named_with_where_it_can_be_had(tmp_path, name):
    with pytest.raises(DataError, match=f"{ROWS[name].needs}.*--data-root or CUTLAYER_DATA.*(download=True|https)"):
        load(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in EMBEDDED if ROWS[name].needs != "numpy"])
def test_an_absent_package_is_answered_with_the_extra_that_brings_it(monkeypatch, name):
    package = ROWS[name].needs
    for module in (package, f"{package}.datasets", f"{package}.data"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"cutlayer\[(lab|text)\]"):
        load(name)
