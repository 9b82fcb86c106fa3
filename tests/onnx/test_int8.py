"""Heads in int8: still heads, smaller, near what they were, and silent about it."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from cutlayer.data.load import load
from cutlayer.errors import SplitError
from cutlayer.onnx.int8 import QUANTIZED, quantize_head
from cutlayer.profile.int8_effect import Effect, compare
from cutlayer.split_folder import open_split
from tests.onnx.onnx_models import chain, run, split_onnx, write
from tests.text_split import write_text_split


def images(n, seed=0):
    return np.random.default_rng(seed).random((n, 3, 8, 8), np.float32)


def quantized(folder, calibration, out):
    """The folder with its head in int8, as `cutlayer quantize` writes it."""
    split = open_split(folder)
    head = split.file("head.onnx")
    return split.with_head(out, lambda path: quantize_head(head, split.manifest, calibration, path))


@pytest.fixture
def split(tmp_path):
    split_onnx(chain(tmp_path / "m.onnx"), "r2", tmp_path / "split")
    return tmp_path / "split"


def test_a_head_in_int8_is_near_the_one_in_float32(split, tmp_path, capfd, caplog):
    before = open_split(split).manifest
    after = quantized(split, images(20), tmp_path / "int8")
    assert (capfd.readouterr(), caplog.text) == (("", ""), "")
    assert open_split(tmp_path / "int8").manifest == after
    assert after.version != before.version
    assert (after.model, after.cut, after.smashed) == (before.model, before.cut, before.smashed)
    assert {file.name for file in (tmp_path / "int8").iterdir()} == {"split.json", "head.onnx", "tail.onnx"}
    after.verify(tmp_path / "int8", "head.onnx", "tail.onnx")

    head = onnx.load(tmp_path / "int8/head.onnx")
    onnx.checker.check_model(head, full_check=True)
    assert {entry.key: entry.value for entry in head.metadata_props}[QUANTIZED].startswith("static int8")
    scales = {tensor.name: tensor.dims for tensor in head.graph.initializer if tensor.name == "k1_scale"}
    assert scales["k1_scale"] == [4], "one scale for each channel"
    x = images(5, seed=1)
    exact, near = run(split / "head.onnx", x), run(tmp_path / "int8/head.onnx", x)
    assert 0 < np.linalg.norm(near - exact) < 0.05 * np.linalg.norm(exact)


def test_a_head_of_sentences_is_calibrated_on_sentences(tmp_path):
    write_text_split(tmp_path / "split")
    sentences = load("documentation").train.inputs[:20]
    quantized(tmp_path / "split", sentences, tmp_path / "int8")
    exact, near = (open_split(tmp_path / name).head()(sentences) for name in ("split", "int8"))
    assert 0 < np.linalg.norm(near - exact) < 0.05 * np.linalg.norm(exact)


def test_what_is_compared(split, tmp_path):
    quantized(split, images(20), tmp_path / "int8")
    labels = run(split / "tail.onnx", run(split / "head.onnx", images(30, seed=2))).argmax(1)
    effect = compare(open_split(split), open_split(tmp_path / "int8"), images(30, seed=2), labels, rounds=7)
    assert (effect.float32_correct, effect.n) == (30, 30)
    assert effect.int8_correct == effect.agreed <= 30
    assert effect.float32_ns.shape == effect.int8_ns.shape == (7,)
    assert effect.float32_bytes == (split / "head.onnx").stat().st_size


def test_the_gain_is_that_of_pairs():
    effect = Effect(np.array([20, 40, 90]), np.array([10, 10, 90]), 9, 8, 7, 10, 10, 400, 100)
    assert effect.gain == 2.0
    assert "accuracy 90.0% in float32, 80.0% in int8; the same answer to 7 of 10 inputs" in str(effect)
    assert str(replace(effect, n_labelled=0)).startswith("the same answer to 7 of 10 inputs")


def test_the_same_images_give_the_same_folder(split, tmp_path):
    first, second = (quantized(split, images(4), tmp_path / name) for name in "ab")
    assert first == second


def test_quantizing_twice_is_refused(split, tmp_path):
    quantized(split, images(4), tmp_path / "int8")
    with pytest.raises(SplitError, match="in int8 already"):
        quantized(tmp_path / "int8", images(4), tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (5, 3, 9, 9)])
def test_images_that_do_not_fit(split, tmp_path, shape):
    with pytest.raises(SplitError, match="The images for calibration are"):
        quantized(split, np.zeros(shape, np.float32), tmp_path / "int8")


def test_an_old_opset_is_refused(tmp_path):
    split_onnx(chain(tmp_path / "m.onnx", opset=11), "r2", tmp_path / "split")
    with pytest.raises(SplitError, match=r"opset 11, and int8 .* needs 13 or later"):
        quantized(tmp_path / "split", images(4), tmp_path / "int8")


def test_a_head_without_anything_to_quantize(tmp_path):
    path = write(tmp_path / "m.onnx", ["r = Neg image", "logits = Exp r"], wanted=("logits", ["N", 3, 8, 8]))
    split_onnx(path, "r", tmp_path / "split")
    with pytest.raises(SplitError, match="no operator that ONNX Runtime can compute in int8"):
        quantized(tmp_path / "split", images(4), tmp_path / "int8")
    assert not (tmp_path / "int8").exists()
