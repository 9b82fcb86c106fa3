import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.data.people import from_people, halved, read_pgm
from cutlayer.errors import DataError


def write_pgm(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pixels.shape
    path.write_bytes(b"P5\n%d %d\n255\n" % (width, height) + pixels.astype(np.uint8).tobytes())


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for person, n in (("Ann_One", 20), ("Bob_Two", 70), ("Cay", 24), ("Dan", 20), ("Eve_Few", 19)):
        for i in range(n):
            pixels = rng.integers(256, size=(64, 64))
            write_pgm(tmp_path / "lfwcrop" / "faces" / f"{person}_{i:04}.pgm", pixels)
    for person in range(4):
        for i in range(8):
            write_pgm(tmp_path / "orl_faces" / f"s{person}" / f"{i}.pgm", rng.integers(256, size=(112, 92)))
    return tmp_path


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "shape"), [("lfw", (1, 64, 64)), ("lfw-32", (1, 32, 32)), ("att-faces", (1, 56, 46))])
def test_the_attackers_people_are_nobody_elses(root, name, shape, seed):
    splits = load(name, root, seed)
    assert splits.name == name
    assert splits.input.shape == shape
    people = {part: set(getattr(splits, part).labels.tolist()) for part in ("train", "auxiliary", "private", "test")}
    assert people["train"] == people["private"] == people["test"]
    assert not people["train"] & people["auxiliary"]
    assert people["train"] | people["auxiliary"] == set(range(len(splits.classes)))


def test_who_is_seldom_seen_is_left_out_and_who_is_seen_often_is_cut_down(root):
    splits = load("lfw", root)
    assert splits.classes == ("Ann_One", "Bob_Two", "Cay", "Dan")
    counts = sum(np.bincount(getattr(splits, p).labels, minlength=4) for p in ("train", "auxiliary", "private", "test"))
    assert counts.tolist() == [20, 60, 24, 20]


def test_labels_stay_with_their_images():
    people = {str(i): np.full((8, 1, 2, 2), i / 10, np.float32) for i in range(6)}
    splits = from_people("made", people, seed=3)
    for part in (splits.train, splits.auxiliary, splits.private, splits.test):
        assert np.allclose(part.inputs[:, 0, 0, 0], part.labels / 10)


def test_a_halved_image_has_the_means_of_four_pixels():
    image = np.array([[[[0, 1, 2, 2], [1, 0, 2, 2]]]], np.float32)
    assert halved(image).tolist() == [[[[0.5, 2.0]]]]


def test_rows_and_columns_of_a_pgm_are_not_confused(tmp_path):
    pixels = np.arange(6).reshape(2, 3)
    write_pgm(tmp_path / "a.pgm", pixels)
    assert np.array_equal(read_pgm(tmp_path / "a.pgm"), pixels)


@pytest.mark.parametrize("content", [b"", b"P2\n1 1\n255\n0", b"P5\n2 2\n255\nabc", b"P5\n1 1\n65535\nab"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "a.pgm").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.pgm is damaged"):
        read_pgm(tmp_path / "a.pgm")
