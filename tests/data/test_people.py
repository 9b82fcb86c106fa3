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
    assert np.array_equal(np.rint(read_pgm(tmp_path / "a.pgm") * 255), pixels)


@pytest.mark.parametrize("content", [
    b"P5\n2 1\n255\n\x00\xff",
    b"P5 # by a scanner\n2\t1 # wide\n#\n255\n\x00\xff",
    b"P5\n2 1\n65535\n\x00\x00\xff\xff",
    b"P5\n2 1\n3\n\x00\x03 and what follows the picture",
    b"P2\n2 1\n255\n0 # dark\n255\n",
])  # fmt: skip
def test_every_kind_of_pgm_is_read(tmp_path, content):
    (tmp_path / "a.pgm").write_bytes(content)
    assert read_pgm(tmp_path / "a.pgm").tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is no PGM file"),
    (b"P6\n1 1\n255\nabc", "is no PGM file"),
    (b"P5\n1 1\n0\na", "is no PGM file: its greatest value is 0"),
    (b"P5\n2 2\n255\nabc", "is damaged: of 2x2 pixels up to 255, 3 are there"),
    (b"P5\n1 1\n65535\na", "is damaged"),
    (b"P5\n1 1\n100\nz", "is damaged: of 1x1 pixels up to 100, 1 are there, the greatest 122"),
    (b"P2\n2 1\n255\n0 x", "is damaged"),
])  # fmt: skip
def test_only_what_is_damaged_is_called_so(tmp_path, content, message):
    (tmp_path / "a.pgm").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.pgm {message}"):
        read_pgm(tmp_path / "a.pgm")


def test_files_of_other_systems_are_passed_over(root):
    before = load("att-faces", root)
    for name in (
        "orl_faces/s0/._0.pgm",
        "orl_faces/__MACOSX/s0/0.pgm",
        "orl_faces/@eaDir/0.pgm",
        "orl_faces/.git/0.pgm",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"Mac OS X")
    after = load("att-faces", root)
    assert after.classes == before.classes
    assert np.array_equal(after.auxiliary.inputs, before.auxiliary.inputs)


def test_an_image_of_another_size_is_named(root):
    write_pgm(root / "orl_faces/s1/9.pgm", np.zeros((64, 64)))
    with pytest.raises(DataError, match=r"9\.pgm has 64x64 pixels, and 0\.pgm has 92x112"):
        load("att-faces", root)
