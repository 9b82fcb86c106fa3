import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cutlayer.errors import SplitError
from cutlayer.models.folder import FILES, save
from cutlayer.models.halves import split
from cutlayer.models.manifest import sha256
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec
from cutlayer.split_folder import open_split
from tests.onnx.onnx_models import run

IMAGE = image_spec(1, 28, 28)


def lenet(seed=0):
    return split(build("he_lenet", IMAGE, 10, seed), "ReLU2", IMAGE)


def write(folder, halves):
    return save(
        folder, halves, model="he_lenet", classes=10, defense={"name": "gaussian-noise", "sigma": 0.5}, data="mnist"
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("splits") / "lenet"
    write(folder, lenet(seed=7))
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "lenet"))


def forge(folder, **changes):
    """Rewrite the manifest so that its hashes fit whatever lies there."""
    manifest = open_split(folder).manifest
    replace(manifest, files={name: sha256(folder / name) for name in FILES}, **changes).save(folder)


def test_what_is_loaded_is_what_was_saved(original):
    split = open_split(original)
    manifest, halves = split.manifest, split.halves()
    assert (manifest.model, manifest.cut, manifest.classes, manifest.data) == ("he_lenet", "ReLU2", 10, "mnist")
    assert manifest.defense == {"name": "gaussian-noise", "sigma": 0.5}
    assert manifest.smashed == halves.smashed
    images, expected = torch.rand(3, *IMAGE.shape), lenet(seed=7)
    assert torch.equal(halves.tail(halves.head(images)), expected.tail(expected.head(images)))
    assert not any(module.training for half in (halves.head, halves.tail) for module in half.modules())


def test_the_onnx_halves_fit_together(original):
    images, expected = torch.rand(3, *IMAGE.shape), lenet(seed=7)
    logits = run(original / "tail.onnx", run(original / "head.onnx", images.numpy()))
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), expected.tail(expected.head(images)), rtol=1e-4, atol=1e-4)


def test_the_folder_holds_the_five_files_with_ordinary_permissions(original):
    assert {file.name for file in original.iterdir()} == {*FILES, "split.json"}
    assert {file.stat().st_mode for file in original.iterdir()} == {(original / "split.json").stat().st_mode}
    assert list(original.parent.iterdir()) == [original]


def test_a_split_folder_is_replaced_and_its_version_follows_the_weights(folder):
    before = open_split(folder).manifest.version
    after = write(folder, lenet(seed=8))
    assert after.version != before
    assert open_split(folder).manifest == after
    assert list(folder.parent.iterdir()) == [folder]


def test_another_folder_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SplitError, match="no split folder"):
        write(tmp_path, lenet())
    with pytest.raises(SplitError, match="no split folder"):
        write(tmp_path / "thesis.tex", lenet())
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_failed_export_leaves_the_old_folder_whole(folder):
    before = open_split(folder).manifest
    with pytest.raises(SplitError):
        write(folder, replace(lenet(), tail=torch.nn.Linear(3, 3)))
    assert open_split(folder).manifest == before
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-20])])
@pytest.mark.parametrize("name", ["head.safetensors", "tail.safetensors", "split.json"])
def test_a_missing_or_a_truncated_file(folder, name, damage):
    damage(folder / name)
    with pytest.raises(SplitError, match=name):
        open_split(folder).halves()


def test_a_flipped_bit_in_the_weights(folder):
    *data, last = (folder / "tail.safetensors").read_bytes()
    (folder / "tail.safetensors").write_bytes(bytes([*data, last ^ 1]))
    with pytest.raises(SplitError, match="is not the file"):
        open_split(folder).halves()


@pytest.mark.parametrize("text", ["[]", "7", "{}", "[" * 100_000, '{"input": 3}'])
def test_a_manifest_that_is_something_else(folder, text):
    (folder / "split.json").write_text(text)
    with pytest.raises(SplitError, match=r"split\.json is damaged"):
        open_split(folder).halves()


def test_a_file_in_place_of_a_folder(folder):
    with pytest.raises(SplitError, match=r"head\.onnx is no split folder"):
        open_split(folder / "head.onnx")


def test_a_manifest_that_cannot_be_read(folder):
    (folder / "split.json").unlink()
    (folder / "split.json").mkdir()
    with pytest.raises(SplitError, match="cannot be read: is a directory"):
        open_split(folder)


def test_an_edited_manifest(folder):
    path = folder / "split.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cut": "ReLU1"}))
    with pytest.raises(SplitError, match="damaged"):
        open_split(folder).halves()


@pytest.mark.parametrize(
    "changes", [{"cut": "ReLU1"}, {"cut": "nowhere"}, {"model": "resnet20"}, {"model": "other"}, {"classes": 3}]
)
def test_a_consistent_manifest_for_another_model(folder, changes):
    forge(folder, **changes)
    with pytest.raises(SplitError, match="does not fit"):
        open_split(folder).halves()


def test_weights_that_are_no_safetensors(folder):
    (folder / "head.safetensors").write_bytes(b"\x80\x04K\x2a.")
    forge(folder)
    with pytest.raises(SplitError, match="does not fit"):
        open_split(folder).halves()


def test_a_foreign_onnx_file_is_not_the_one_of_the_manifest(folder):
    (folder / "head.onnx").write_bytes((folder / "tail.onnx").read_bytes())
    with pytest.raises(SplitError, match=r"head\.onnx is not the file"):
        open_split(folder).manifest.verify(folder, "head.onnx")
