"""ONNX files from the command line, on machines that have no torch."""

import re
import subprocess
import sys

import pytest

from cutlayer.errors import ConfigError, SplitError
from cutlayer.split_folder import open_split
from tests.cloud_process import CloudProcess
from tests.command import cutlayer
from tests.onnx.onnx_models import chain, write


@pytest.fixture
def without_torch(tmp_path, monkeypatch):
    """Processes that are started from here find no torch."""
    (tmp_path / "absent").mkdir()
    for name in ("torch", "torchvision"):
        (tmp_path / f"absent/{name}.py").write_text("raise ModuleNotFoundError('there is no torch')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "absent"))


def apart(*words):
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cutlayer.cli", *map(str, words)], capture_output=True, text=True, check=False
    )


def digits(folder):
    return chain(folder / "m.onnx", 1, given=("image", ["N", 1, "height", "width"]))


@pytest.mark.usefixtures("without_torch")
def test_an_onnx_file_is_listed_cut_served_and_asked(tmp_path):
    path, out = digits(tmp_path), tmp_path / "split"
    listed = apart("cuts", path, "--input", "1x8x8")
    assert (listed.returncode, listed.stderr) == (0, "")
    lines = {line.split()[0]: line.split() for line in listed.stdout.splitlines()[2:]}
    assert lines["r1"][1:3] == ["4x8x8", "1,024"]
    assert "no cut at c2, c3: others would have to be sent as well" in listed.stdout

    words = ("split", path, "--cut", "r1", "--input", "1x8x8", "--std", "0.5", "--data", "digits", "--out", out)
    split = apart(*words)
    assert (split.returncode, split.stderr) == (0, "")
    assert "m.onnx cut at r1, smashed 4x8x8, test accuracy" in split.stdout

    with CloudProcess(out, "grpc://127.0.0.1:0") as cloud:
        asked = ("edge", out, "--connect", cloud.address, "--data", "digits", "--count", 3, "--warmup", 1)
        done = apart(*asked, "--head", "onnx")
        assert (done.returncode, done.stderr) == (0, "")
        assert "end_to_end" in done.stdout
        assert cloud.stop() == 0


@pytest.mark.usefixtures("without_torch")
def test_a_head_is_quantized_and_measured(tmp_path):
    words = ("split", digits(tmp_path), "--cut", "r2", "--input", "1x8x8", "--data", "digits")
    assert apart(*words, "--out", tmp_path / "split").returncode == 0
    done = apart("quantize", tmp_path / "split", "--out", tmp_path / "int8", "--calibrate", 20, "--count", 50)
    assert (done.returncode, done.stderr) == (0, "")
    accuracy, pace, size = done.stdout.splitlines()[1:]
    assert "of 50 inputs" in accuracy
    assert "times as fast" in pace
    assert "bytes" in size


def test_a_file_that_cannot_be_cut_anywhere(tmp_path):
    nodes = ["r = Relu image", "s = Neg image", "logits = Add r s"]
    done = cutlayer("cuts", write(tmp_path / "m.onnx", nodes, given=("image", ["N", 4]), wanted=("logits", ["N", 4])))
    assert (done.returncode, done.stderr) == (0, "")
    no_cut, nowhere = done.stdout.splitlines()[2:]
    assert no_cut == "no cut at r, s: others would have to be sent as well"
    assert nowhere.startswith("the model cannot be cut: ")


def test_torch_halves_that_are_not_there(tmp_path):
    words = ("split", digits(tmp_path), "--cut", "r1", "--input", "1x8x8", "--out", tmp_path / "split")
    assert cutlayer(*words).returncode == 0
    with pytest.raises(SplitError, match=r"no halves in torch, only in ONNX.*; use --head onnx and --tail onnx"):
        open_split(tmp_path / "split").halves()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["cuts", "absent.onnx"], "There is no file absent.onnx"),
        (["cuts", "{model}", "--input", "absent=1x8x8"], "has no input 'absent', as --input says; it takes image"),
        (["cuts", "{model}", "--state", "image"], "--state takes NAME=VALUE, such as h=hn"),
        (["cuts", "{model}", "--constant", "image=x"], "--constant takes numbers such as sr=16000"),
        (["cuts", "he_lenet", "--public", "image"], "--public is for ONNX files"),
        (["cuts", "{model}", "--input", "1x8x-8"], "CxHxW"),
        (["cuts", "{model}", "--input", "1x8x8", "--classes", "10"], "--classes is not for ONNX files"),
        (["split", "{model}", "--input", "1x8x8", "--cut", "c2", "--out", "{out}"], "r1 would have to be sent"),
        (["split", "{model}", "--input", "1x8x8", "--cut", "r1", "--epochs", "3", "--out", "{out}"], "--epochs"),
        (
            ["split", "{model}", "--input", "1x9x9", "--cut", "r1", "--data", "digits", "--out", "{out}"],
            "images of 1x8x8",
        ),
        (
            ["split", "{model}", "--input", "1x8x8", "--mean", "0.5;1", "--cut", "r1", "--out", "{out}"],
            "--mean takes numbers",
        ),
        (["split", "he_lenet", "--cut", "ReLU2", "--out", "{out}"], "--data"),
        (["split", "he_lenet", "--cut", "ReLU2", "--data", "digits", "--input", "1x9x9", "--out", "{out}"], "--input"),
        (["quantize", "{out}", "--out", "{out}2"], "split.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, words, complaint):
    model, out = digits(tmp_path), tmp_path / "out"
    done = cutlayer(*(word.format(out=out, model=model) for word in words))
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not out.exists()


def test_names_that_are_no_utf_8(tmp_path):
    """Old disks and archives from Windows have such names; split folders and records hold names in UTF-8."""
    odd = digits(tmp_path).rename(tmp_path / "caf\udce9.onnx")
    (tmp_path / "d\udce9").mkdir()
    words = ("--cut", "r1", "--input", "1x8x8", "--out")
    for command in (("split", odd, *words, tmp_path / "s"), ("profile", odd), ("profile", "m", "--data", "d\udce9")):
        done = cutlayer(*command)
        assert done.returncode == 2
        assert "has a name that is no UTF-8" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert cutlayer("cuts", odd, "--input", "1x8x8").returncode == 0
    plain = odd.rename(tmp_path / "m.onnx")
    done = cutlayer("split", plain, *words, tmp_path / "d\udce9/s")
    assert done.returncode == 2
    assert "has a name that is no UTF-8" in done.stderr
    assert cutlayer("split", plain, *words, tmp_path / "s").returncode == 0
    moved = (tmp_path / "s").rename(tmp_path / "d\udce9/s")
    with pytest.raises(ConfigError, match="has a name that is no UTF-8"):
        open_split(moved).head()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--limit-gb", "0.1"], "--limit-gb must be"),
        (["--limit-gb", "nan"], "--limit-gb must be"),
        (["--limit-s", "0"], "--limit-s must be"),
        (["--limit-s", "0.001"], r"m\.onnx was not done within the time limit of 0\.001 s; .* with --limit-s"),
    ],
)
def test_limits_of_the_work_on_a_file(tmp_path, words, complaint):
    done = cutlayer("cuts", digits(tmp_path), "--input", "1x8x8", *words)
    assert done.returncode == 2
    assert re.search(complaint, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1
