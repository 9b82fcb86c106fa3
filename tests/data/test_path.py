"""Data of one's own: folders of images of every kind, arrays, and what torchvision downloads."""

import pickle
import sys

import numpy as np
import pytest
from PIL import Image

import cutlayer
from cutlayer.data.load import load, open_data
from cutlayer.data.parts import dealt
from cutlayer.data.path import identity
from cutlayer.data.splits import Dataset
from cutlayer.data.stored import Stored
from cutlayer.errors import ConfigError, DataError
from cutlayer.registry import DATASETS
from tests.data.test_mnist import idx

SHAPE = (3, 8, 8)
PARTS = ("train", "auxiliary", "private", "test")


def pattern(height=16, width=16, seed=0):
    """Smooth bytes ``(height, width, 3)``: bright at the top left, so that a turned image can be told."""
    color = np.random.default_rng(seed).uniform(0.3, 1, 3)
    down, right = np.meshgrid(np.linspace(1, 0.2, height), np.linspace(1, 0.6, width), indexing="ij")
    return np.rint((down * right)[..., None] * color * 255).astype(np.uint8)


def save(folder, name, image, **options):
    folder.mkdir(parents=True, exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / name, **options)


@pytest.fixture
def odd(tmp_path):
    """Two class folders that show one picture in every kind of file, and what has no business in them."""
    rgb, folder = pattern(), tmp_path / "odd"
    one, two = folder / "one", folder / "two"
    picture = Image.fromarray(rgb)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees to the right
    save(one, "plain.png", rgb)
    save(one, "photo.JPG", rgb, quality=95)
    save(one, "lossless.webp", rgb, lossless=True)
    save(one, "windows.bmp", rgb)
    save(one, "portable.ppm", rgb)
    save(one, "turned.jpg", picture.rotate(90, expand=True), quality=95, exif=turned)
    save(one, "palette.png", picture.quantize(256))
    save(two, "transparent.png", np.dstack([rgb, np.full((16, 16), 255, np.uint8)]))
    save(two, "print.jpg", picture.convert("CMYK"), quality=95)
    save(two, "wide.png", np.pad(rgb, ((0, 0), (16, 16), (0, 0)), "edge"))
    save(two, "large.png", rgb.repeat(4, axis=0).repeat(4, axis=1))
    (one / "cut_short.png").write_bytes((one / "plain.png").read_bytes()[:60])
    (one / "empty.jpg").write_bytes(b"")
    (two / "a text.png").write_text("no image")
    for name in ("._plain.png", ".DS_Store", "Thumbs.db"):
        (one / name).write_bytes(b"\0\5\26\7")
    (folder / "__MACOSX" / "one").mkdir(parents=True)
    (folder / "__MACOSX" / "one" / "plain.png").write_bytes(b"Mac OS X")
    (folder / "notes.txt").write_text("from my camera")
    (one / "phone.HEIC").write_bytes(b"ftypheic")
    return folder


def images(splits):
    return np.concatenate([splits.parts[part].inputs for part in PARTS])


def test_every_kind_of_image_becomes_the_same_picture(odd):
    splits = load(str(odd), shape=SHAPE)
    expected = np.asarray(Image.fromarray(pattern()).resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255
    assert splits.classes == ("one", "two")
    assert len(images(splits)) == 11
    assert np.abs(images(splits) - expected).max() < 0.06


def test_what_cannot_be_read_is_named_and_counted(odd):
    others, unreadable = load(str(odd), shape=SHAPE).notes[:2]
    assert unreadable.startswith("3 files cannot be read and are left out: ")
    for name in ("one/cut_short.png", "one/empty.jpg: it is empty", "two/a text.png"):
        assert name in unreadable
    assert others == "Pictures of kinds that are not read are left out (.heic 1); convert them to PNG or JPEG."


def test_copies_across_parts_are_counted(odd):
    assert any("private images are identical or nearly so to images of the train part" in note
               for note in load(str(odd), shape=SHAPE).notes)  # fmt: skip


def test_other_pictures_are_no_copies(tmp_path):
    x = np.random.default_rng(0).integers(256, size=(60, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x)
    assert load(str(tmp_path / "a.npz")).notes == ()


def test_a_device_reads_the_images_that_training_has(odd):
    loaded, opened = (read(str(odd), shape=SHAPE, seed=3) for read in (load, open_data))
    for name in PARTS:
        part, _ = opened.parts[name].first_readable(100)
        assert isinstance(part, Stored)
        assert len(part) == len(loaded.parts[name])
        for position in range(len(part)):
            assert np.array_equal(part.one(position), loaded.parts[name].one(position))
        assert np.array_equal(part.labels, loaded.parts[name].labels)


def test_transparency_is_laid_on_white(tmp_path):
    half = np.zeros((4, 4, 4), np.uint8)
    half[..., 3] = 128
    save(tmp_path / "a", "half.png", half)
    save(tmp_path / "b", "gray.png", Image.fromarray(half[..., [0, 3]], "LA"))
    assert np.allclose(images(load(str(tmp_path), shape=(1, 4, 4))), 127 / 255)


def test_sixteen_bits_keep_their_precision(tmp_path):
    values = np.array([[0, 1], [1000, 65535]], np.uint16)
    save(tmp_path / "a", "deep.png", values)
    save(tmp_path / "a", "deep.tif", values)
    np.savez(tmp_path / "x.npz", x=values[None])
    for name in ("a", "x.npz"):
        read = images(load(str(tmp_path / name), shape=(1, 2, 2)))
        assert np.allclose(read, values / 65535, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("size", "kept"), [((16, 32), np.s_[:, 8:24]), ((32, 16), np.s_[8:24, :])])
def test_the_shorter_side_fits_and_the_center_is_cropped(tmp_path, size, kept):
    rgb = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    save(tmp_path, "a.png", rgb)
    assert np.allclose(images(load(str(tmp_path), shape=(3, 16, 16)))[0], rgb[kept].transpose(2, 0, 1) / 255)


def test_the_size_is_that_of_the_images_or_has_to_be_stated(tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path, name, pattern(12, 10))
    assert load(str(tmp_path)).input.shape == (3, 12, 10)
    assert load(str(tmp_path), otherwise=(1, 6, 6)).input.shape == (1, 6, 6)
    save(tmp_path, "c.png", pattern(9, 10))
    with pytest.raises(DataError, match=r"several sizes \(3x12x10, 3x9x10\); .*--input"):
        load(str(tmp_path))


def test_a_flat_folder_has_no_classes(tmp_path):
    for i in range(8):
        save(tmp_path / "inner", f"{i}.png", pattern(seed=i))
    splits = load(str(tmp_path))
    assert splits.classes == ()
    assert [len(splits.parts[part]) for part in PARTS] == [4, 2, 1, 1]
    assert set(splits.train.labels) == {-1}


def test_images_beside_class_folders_are_refused(odd):
    save(odd, "stray.png", pattern())
    with pytest.raises(DataError, match=r"holds 1 images, such as stray\.png, beside the folders one, two"):
        load(str(odd))


def test_train_and_test_folders_are_kept_apart(tmp_path):
    for part, shade in (("train", 0), ("Val", 50), ("test", 200)):
        for label in ("cat", "dog"):
            for i in range(8):
                save(tmp_path / part / label, f"{i}.png", np.full((4, 4), shade + i, np.uint8))
    splits = load(str(tmp_path))
    assert splits.classes == ("cat", "dog")
    assert [len(splits.parts[part]) for part in PARTS] == [16, 16, 8, 8]
    assert max(splits.train.inputs.max(), splits.auxiliary.inputs.max()) < 0.3 < splits.test.inputs.min()


@pytest.mark.parametrize("stored", ["folder", "npz"])
def test_a_group_stays_in_one_part(tmp_path, stored):
    shades = np.arange(120).reshape(2, 12, 5)  # classes, groups, images
    if stored == "folder":
        for (label, group, i), shade in np.ndenumerate(shades):
            save(tmp_path / f"class{label}" / f"video{group}", f"{i}.png", np.full((4, 4), shade, np.uint8))
        path = tmp_path
    else:
        x = np.broadcast_to(shades.reshape(-1, 1, 1), (120, 4, 4)).astype(np.uint8)
        path = tmp_path / "a.npz"
        np.savez(path, x=x, y=np.repeat([0, 1], 60), group=np.repeat(np.arange(24), 5))
    splits = load(str(path))
    seen = [set((np.rint(splits.parts[part].inputs[:, 0, 0, 0] * 255) // 5).astype(int)) for part in PARTS]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 24
    assert sum(len(splits.parts[part]) for part in PARTS) == 120
    assert len(set(splits.auxiliary.groups)) == len(seen[1])


def test_each_class_is_dealt_out_alike():
    labels = np.repeat(np.arange(50), 8)
    parts = dealt([Dataset(np.zeros((400, 1, 1, 1), np.float32), labels)], seed=1)
    counts = np.array([np.bincount(part.labels, minlength=50) for part in parts])
    assert (counts == np.array([[4], [2], [1], [1]])).all()


def test_the_first_samples_of_a_part_are_of_every_class():
    labels = np.repeat(np.arange(4), 400)
    for part in dealt([Dataset(np.zeros((1600, 1, 1, 1), np.float32), labels)], seed=0):
        counts = np.bincount(part.take(len(part) // 4).labels, minlength=4)
        assert counts.min() > counts.mean() / 2


@pytest.mark.parametrize(("shape", "expected"), [
    ((20, 5, 6), (1, 5, 6)), ((20, 1, 5, 6), (1, 5, 6)), ((20, 5, 6, 1), (1, 5, 6)), ((20, 3, 5, 6), (3, 5, 6)),
    ((20, 5, 6, 3), (3, 5, 6)), ((20, 5, 6, 4), (3, 5, 6)), ((20, 3, 5, 3), (3, 5, 3)),
])  # fmt: skip
def test_arrays_of_every_layout(tmp_path, shape, expected):
    x = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(20) % 2)
    np.save(tmp_path / "x.npy", x)
    for path in (tmp_path / "a.npz", tmp_path / "x.npy", tmp_path):
        splits = load(str(path))
        assert splits.input.shape == expected
        assert len(images(splits)) == 20
    assert load(str(tmp_path / "a.npz")).classes == ("0", "1")
    assert load(str(tmp_path / "x.npy")).classes == ()
    if len(shape) == 4 and 4 not in shape:
        first = x if expected == shape[1:] else x.transpose(0, 3, 1, 2)
        wanted, given = (sorted(map(bytes, rows)) for rows in (first, np.rint(images(splits) * 255).astype(np.uint8)))
        assert wanted == given


@pytest.mark.parametrize(("arrays", "message"), [
    ({"x": np.zeros((9, 5, 4, 5), np.uint8)}, r"has the shape \(9, 5, 4, 5\); images are"),
    ({"x": np.zeros((9, 4, 4), np.int64)}, "is of type int64; images are uint8"),
    ({"x": np.full((9, 4, 4), 2.0)}, r"holds values from 2 to 2 in image \d; floats must lie in \[0, 1\]"),
    ({"x": np.full((9, 4, 4), np.nan)}, "holds values from nan"),
    ({"x": np.zeros((9, 4, 4)), "y": np.zeros(7, int)}, "x holds 9 images and y holds 7 numbers"),
    ({"x": np.zeros((9, 4, 4)), "group": np.zeros(7, int)}, "x holds 9 images and group holds 7 numbers"),
    ({"x": np.zeros((9, 4, 4)), "y": np.full(9, -1)}, "array y goes from -1 to -1; labels are the numbers"),
    ({"x": np.zeros((9, 4, 4)), "y": np.full(9, 0.5)}, "array y goes from 0.5 to 0.5; labels are the numbers"),
    ({"x": np.zeros((9, 4, 4)), "y": np.zeros((9, 2))}, r"array y has the shape \(9, 2\)"),
    ({"x": np.zeros((9, 4, 4)), "y": np.full(9, 2), "classes": np.array(["a", "b"])}, "the label 2, and 2 classes"),
    ({"pictures": np.zeros((9, 4, 4))}, "array x is missing, among pictures"),
    ({"x": np.array([None] * 9)}, "it is no array of numbers or strings"),
    ({"x": np.zeros((0, 4, 4))}, "no images"),
])  # fmt: skip
def test_arrays_of_another_kind(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(str(tmp_path / "a.npz"))


def test_labels_may_be_strings_and_pairs_keep_apart(tmp_path):
    x = np.zeros((6, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["dog", "cat"] * 3))
    assert load(str(tmp_path / "a.npz")).classes == ("cat", "dog")
    np.savez(tmp_path / "b.npz", x_train=x, y_train=np.arange(6), x_test=x + 255, y_test=np.arange(6))
    splits = load(str(tmp_path / "b.npz"))
    assert splits.train.inputs.max() == 0
    assert splits.private.inputs.min() == 1


@pytest.fixture
def downloads(tmp_path):
    rng = np.random.default_rng(0)
    for name, part in (("MNIST", "train"), ("MNIST", "t10k"), ("FashionMNIST", "train"), ("FashionMNIST", "t10k")):
        raw = tmp_path / name / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(rng.integers(256, size=(20, 28, 28), dtype=np.uint8)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(20, dtype=np.uint8) % 10))
    for folder, names, key in (
        ("cifar-10-batches-py", ("data_batch_1", "data_batch_2", "test_batch"), "labels"),
        ("cifar-100-python", ("train", "test"), "fine_labels"),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            batch = {"data": rng.integers(256, size=(20, 3072), dtype=np.uint8), key: (np.arange(20) % 10).tolist()}
            (tmp_path / folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (tmp_path / "stl10_binary").mkdir()
    for part in ("train", "test"):
        picture = np.zeros((20, 3, 96, 96), np.uint8)
        picture[:, :, :10, :] = 255  # the upper rows are white; the file holds column after column
        picture.transpose(0, 1, 3, 2).tofile(tmp_path / "stl10_binary" / f"{part}_X.bin")
        np.repeat(np.arange(1, 11, dtype=np.uint8), 2).tofile(tmp_path / "stl10_binary" / f"{part}_y.bin")
    return tmp_path


@pytest.mark.parametrize(("path", "sizes", "shape", "first"), [
    ("MNIST", [10, 10, 10, 10], (1, 28, 28), "0"),
    ("FashionMNIST/raw", [10, 10, 10, 10], (1, 28, 28), "t-shirt"),
    ("cifar-10-batches-py", [20, 20, 10, 10], (3, 32, 32), "airplane"),
    ("cifar-100-python", [10, 10, 10, 10], (3, 32, 32), "apple"),
    ("stl10_binary", [10, 10, 10, 10], (3, 96, 96), "airplane"),
])  # fmt: skip
def test_what_torchvision_downloads(downloads, path, sizes, shape, first):
    splits = load(str(downloads / path))
    assert [len(splits.parts[part]) for part in PARTS] == sizes
    assert splits.input.shape == shape
    assert splits.classes[0] == first


def test_the_batches_of_cifar_for_python_are_those_in_binary(downloads):
    folder, binary = downloads / "cifar-10-batches-py", downloads / "cifar-10-batches-bin"
    splits = load(str(folder), seed=2)
    binary.mkdir()
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        content = pickle.loads((folder / name).read_bytes())  # noqa: S301
        np.column_stack([np.array(content["labels"], np.uint8), content["data"]]).tofile(binary / f"{name}.bin")
    again = load(str(binary), seed=2)
    for part in PARTS:
        assert np.array_equal(splits.parts[part].inputs, again.parts[part].inputs)
        assert np.array_equal(splits.parts[part].labels, again.parts[part].labels)


def test_stl_is_stored_by_columns(downloads):
    image = load(str(downloads / "stl10_binary")).train.inputs[0]
    assert image[:, :10].min() == 1
    assert image[:, 10:].max() == 0


class Harmful:
    def __reduce__(self):
        return exec, ("raise SystemExit('this ran')",)


def test_a_pickle_runs_nothing(downloads):
    path = downloads / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps({"data": Harmful(), "labels": []}))
    with pytest.raises(DataError, match=r"no batch of CIFAR: it asks for builtins\.exec"):
        load(str(path.parent))


def test_a_folder_of_several_downloads_is_ambiguous(downloads):
    with pytest.raises(DataError, match=r"holds several data sets: .*MNIST/raw.*; name one"):
        load(str(downloads))


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: None, "There is no file or folder"),
    (lambda path: path.write_text("no image"), "is a file; name a folder"),
    (lambda path: path.mkdir(), r"holds no images \(it is empty\)"),
    (lambda path: (path.mkdir(), (path / "a.heic").touch()), r"holds no images \(\.heic 1\)"),
])  # fmt: skip
def test_what_is_no_data_is_said(tmp_path, make, message):
    make(tmp_path / "data")
    with pytest.raises(DataError, match=message):
        load(str(tmp_path / "data"))


def test_without_pillow_the_extra_is_named(odd, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ConfigError, match=r"needs Pillow: pip install 'cutlayer\[lab\]'"):
        open_data(str(odd), shape=SHAPE)


def test_the_identity_is_that_of_the_content(odd, tmp_path):
    before = identity(odd)
    assert identity(odd) == before
    odd = odd.rename(tmp_path / "elsewhere")
    (odd / ".DS_Store").write_bytes(b"macOS")
    assert identity(odd) == before
    save(odd / "one", "plain.png", pattern(seed=1))
    assert identity(odd) != before


def test_names_are_no_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mnist", "mine"):
        (tmp_path / folder).mkdir()
    assert not any(map(DATASETS.is_path, ("mnist", "digits", "mine.py:squares", "other")))
    assert all(map(DATASETS.is_path, ("mine", "./mnist", "data/mnist", "mnist.npz", "~/mnist")))
    assert DATASETS.resolved("mine", tmp_path) == str(tmp_path / "mine")
    assert DATASETS.resolved("mnist", tmp_path) == "mnist"
    assert DATASETS.label(str(tmp_path / "mine/")) == "mine"


def test_random_inputs_have_the_shape_that_is_wanted():
    assert open_data("random").input.shape == (3, 32, 32)
    splits = open_data("random", shape=(1, 5, 7))
    assert splits.test.one(3).shape == (1, 1, 5, 7)
    assert not np.array_equal(splits.test.one(3), splits.test.one(4))
    assert np.array_equal(splits.test.one(3), open_data("random", shape=(1, 5, 7)).test.one(3))


def test_a_program_names_the_path_and_is_told_what_is_left_out(odd, capsys):
    data = cutlayer.load_data(odd, shape=SHAPE)
    assert data.classes == ("one", "two")
    assert "note: 3 files cannot be read and are left out: " in capsys.readouterr().err
