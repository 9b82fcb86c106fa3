"""Files that cannot be cut: one sentence that says what and what to do."""

import resource
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from cutlayer.errors import ConfigError, SplitError, WriteError
from cutlayer.onnx.given import Given
from cutlayer.onnx.graph import checked, survey
from tests.onnx.onnx_models import chain, split_onnx, write


def test_a_missing_file(tmp_path):
    with pytest.raises(SplitError, match="There is no file"):
        survey(tmp_path / "absent.onnx")


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: b"GIF89a" + data])
def test_a_damaged_file(tmp_path, damage, capfd):
    path = chain(tmp_path / "m.onnx")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SplitError, match=r"m\.onnx cannot be read as an ONNX model: .+"):
        survey(path)
    assert capfd.readouterr() == ("", "")


def test_a_file_with_any_spoiled_bytes_is_cut_or_refused_in_a_sentence(tmp_path, capfd):
    whole = chain(tmp_path / "m.onnx").read_bytes()
    spoiled, rng, refused = tmp_path / "spoiled.onnx", np.random.default_rng(0), []
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        spoiled.write_bytes(data)
        try:
            checked(survey(spoiled))
        except SplitError as error:
            refused.append(str(error))
    assert 0 < len(refused) < 200
    assert all(len(sentence.splitlines()) == 1 for sentence in refused)
    assert capfd.readouterr() == ("", "")


def test_a_file_without_its_weights(tmp_path):
    path = chain(tmp_path / "m.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(SplitError, match=r"claims a tensor .*weights\.bin.*no such file"):
        survey(path)


@pytest.mark.parametrize(("opset", "ir", "limit"), [(999, 8, "opset"), (17, 999, "IR version")])
def test_a_version_that_onnx_runtime_does_not_know(tmp_path, opset, ir, limit, capfd):
    path = chain(tmp_path / "m.onnx", opset=opset, ir=ir)
    complaint = rf"is of IR version {ir}, opset {opset}, .* ONNX Runtime supports up to {limit} \d\d; export"
    with pytest.raises(SplitError, match=complaint):
        survey(path)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_operator_is_refused(tmp_path):
    path = write(tmp_path / "m.onnx", ["logits = Frobnicate image"])
    with pytest.raises(SplitError, match="Frobnicate"):
        survey(path)


OPEN = ["N", 3, "height", None]


@pytest.mark.parametrize(
    ("shape", "asked", "complaint"),
    [
        (OPEN, (1, 8, 8), "not samples of 1x8x8"),
        (OPEN, (3, 8), "not samples of 3x8"),
        (["N", 3, 8, 8], (3, 9, 9), "not samples of 3x9x9"),
        ([4, 3, 8, 8], (5, 3, 8, 8), "not samples of 5x3x8x8"),
    ],
)
def test_a_shape_that_is_not_that_of_the_input(tmp_path, shape, asked, complaint):
    path = write(
        tmp_path / "m.onnx", ["r = Relu image", "logits = Neg r"], given=("image", shape),
        wanted=("logits", shape),
    )  # fmt: skip
    with pytest.raises(SplitError, match=complaint):
        survey(path, Given(asked))


def test_a_shape_that_the_model_cannot_take(tmp_path, capfd):
    nodes = ["f = Flatten image", "logits = MatMul f w"]
    w = numpy_helper.from_array(np.zeros((192, 10), np.float32), "w")
    path = write(tmp_path / "m.onnx", nodes, [w], given=("image", OPEN))
    with pytest.raises(SplitError, match=r"cannot run .* on 1x3x5x5: .*; if it takes another"):
        survey(path, Given((3, 5, 5)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("end", ["takes", "gives"])
def test_text_at_an_end(tmp_path, end):
    takes, gives = (TensorProto.STRING if end == verb else TensorProto.FLOAT for verb in ("takes", "gives"))
    nodes = [("f = Cast image", {"to": TensorProto.FLOAT}), ("logits = Cast f", {"to": gives})]
    path = write(
        tmp_path / "m.onnx", nodes, given=("image", ["N", 4]), wanted=("logits", ["N", 4]), types=(takes, gives)
    )
    with pytest.raises(SplitError, match=f"{end} (image|logits) as string, which holds no numbers that can be sent"):
        survey(path)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (Given(state={"h": "logits"}), "has no input 'h', as --state says; it takes image"),
        (Given(state={"image": "hn"}), "has no output 'hn', as --state says; it gives logits"),
        (Given(constants={"sr": 1.0}), "has no input 'sr', as --constant says"),
        (Given(public=["image"]), "has no input left that a head could hide"),
    ],
)
def test_names_that_the_file_does_not_have(tmp_path, given, complaint):
    with pytest.raises(SplitError, match=complaint):
        survey(chain(tmp_path / "m.onnx"), given)


def test_without_the_package_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"needs the package onnx; install cutlayer\[cut\]"):
        survey(tmp_path / "m.onnx")


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(SplitError, match="no split folder"):
        split_onnx(chain(tmp_path / "m.onnx"), "r1", out)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/split cannot be written: .*/file is no folder"):
        split_onnx(chain(tmp_path / "m.onnx"), "r1", tmp_path / "file/split")


def test_a_disk_that_is_full(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = chain(tmp_path / "m.onnx")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(WriteError, match="split cannot be written: file too large; free some space"):
            split_onnx(path, "r1", tmp_path / "split")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_named_by_a_dot(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    split_onnx(chain(tmp_path / "m.onnx"), "r1", Path("."))
    assert (tmp_path / "here/split.json").exists()
