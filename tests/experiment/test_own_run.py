"""An experiment in which everything is the user's own, in a folder outside the checkout, with real processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import command

ROOT = Path(__file__).parents[2]
HERE = {**os.environ, "PYTHONPATH": str(ROOT)}
MINE = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import Access
from cutlayer.data.parts import from_one
from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import Defense
from cutlayer.metrics.base import Metric
from cutlayer.wire.codecs.base import Codec, Encoded, as_array, as_bytes, count_elements


def squares(root, seed):
    """Noise that is dark or bright."""
    labels = np.arange(160, dtype=np.int64) % 2
    images = np.random.default_rng(0).random((160, 1, 16, 16), np.float32) / 2 + labels[:, None, None, None] / 2
    return from_one("squares", ("dark", "bright"), Dataset(images.astype(np.float32), labels), seed)


class Net(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4 * 256, classes)

    def forward(self, images):
        if images.dim() != 4 or images.shape[-1] < 8:
            raise ValueError("no image")
        smashed = torch.relu(self.first(images))
        if smashed.shape[-1] > 8:
            smashed = torch.relu(self.second(smashed))
        return self.last(smashed.reshape(images.shape[0], -1))


@dataclass(kw_only=True)
class Brightness(Attack):
    """Answer with the gray that is nearest in the mean of the smashed data."""

    needs: ClassVar[Access] = Access.BLACK_BOX
    plain_words: ClassVar[str] = "guesses one gray for the whole picture"

    def fit(self, view):
        self._images = torch.from_numpy(view.auxiliary.inputs)
        self._means = view.query(self._images).flatten(1).mean(1)

    def invert(self, smashed):
        nearest = (smashed.flatten(1).mean(1)[:, None] - self._means).abs().argmin(1)
        return self._images[nearest].mean((1, 2, 3), keepdim=True).expand(-1, 1, 16, 16).clamp(0, 1)


@dataclass(kw_only=True)
class Halve(Defense):
    """Send a part of each value."""

    knob: ClassVar[str] = "taken"
    taken: float = 0.5

    def protect(self, smashed, rng):
        return smashed * (1 - self.taken) if self.taken else smashed


class Negative(Codec):
    """Float32 with its sign changed on the wire."""

    name = "negative"

    def encode(self, array):
        datatype, data = as_bytes(-np.ascontiguousarray(array, np.float32))
        return Encoded(datatype, array.shape, data, {"codec": self.name})

    def decode(self, encoded):
        return -as_array(encoded, "FP32")

    def most_bytes(self, encoded):
        return 4 * count_elements(encoded, ("FP32",))


def farthest(reconstructions, originals, candidates):
    return (reconstructions - originals).abs().flatten(1).amax(1)


FARTHEST = Metric("Farthest pixel", "the error of the worst pixel.", "low", farthest)
'''
PLAN = """
name = "own"
data = "mine.py:squares"
cut = "relu"

[model]
name = "mine.py:Net"
mean = [0.5]
std = [0.25]

[training]
epochs = 1

[measure]
count = 10
private = 5
warmup = 1
codec = "mine.py:Negative+zstd"
metrics = ["mine.py:FARTHEST", "ms-ssim", "lpips", "recognized"]

[[defense]]
name = "mine.py:Halve"

[[attack]]
name = "mine.py:Brightness"
[[attack]]
name = "mean-image"
"""


def cutlayer(folder, *words):
    started = [sys.executable, "-m", "cutlayer.cli", *map(str, words)]
    done = subprocess.run(started, cwd=folder, env=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the file, the plan in a folder of its own, and the records of a run."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "plans").mkdir()
    (folder / "plans/mine.py").write_text(MINE)
    (folder / "plans/plan.toml").write_text(PLAN)
    said = cutlayer(folder, "run", "plans/plan.toml", "--weights-root", folder)
    assert said.count("LPIPS AlexNet is left out") == 1
    return folder


def test_the_records_have_names_for_a_reader(folder):
    (path,) = folder.glob("runs/*/result.json")
    record = json.loads(path.read_text())
    names = record["data"], record["model"], record["defense"]["name"], record["defense_label"]
    assert names == ("squares", "Net", "Halve", "Halve")
    assert [row["attack"] for row in record["privacy"]] == ["Brightness", "mean-image"]
    brightness = record["privacy"][0]
    assert 0 < brightness["metrics"]["FARTHEST"]["value"] < 1
    assert 0 < brightness["metrics"]["ms-ssim"]["value"] < 1
    assert brightness["metrics"]["lpips"]["value"] is None
    assert brightness["metrics"]["recognized"]["n"] == 5
    assert record["judge"].startswith("resnet20 (trained on 40 auxiliary images), right about ")
    assert brightness["leakage_gain"]["value"] > 0.3, "it sees whether the picture is dark or bright"
    assert str(folder) not in path.read_text()


def test_the_page_says_what_they_say_of_themselves(folder):
    # The file may be gone: the records have all that the page needs.
    (folder / "plans/mine.py").rename(folder / "elsewhere.py")
    cutlayer(folder, "report", "runs")
    (folder / "elsewhere.py").rename(folder / "plans/mine.py")
    page = (folder / "runs/report.html").read_text()
    for words in (
        "guesses one gray for the whole picture",
        "Farthest pixel",
        "the error of the worst pixel",
        "Halve",
        "MS-SSIM",
        "right about",
    ):
        assert words in page, words
    assert not re.search(r"mine\.py|" + re.escape(str(folder)), page)


def test_the_run_is_found_again_from_another_folder_and_a_changed_attack_is_another(folder, tmp_path):
    (made,) = (path.parent.name for path in folder.glob("runs/*/result.json"))
    code = (
        "import sys, pathlib; from cutlayer.experiment import plan; print(plan.load(pathlib.Path(sys.argv[1]))[0].id)"
    )

    def id_of(plan):
        done = subprocess.run(
            [sys.executable, "-c", code, plan], cwd=tmp_path, env=HERE, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    assert id_of(folder / "plans/plan.toml") == id_of(folder / "runs" / made / "experiment.toml") == made
    (tmp_path / "mine.py").write_text(MINE.replace("clamp(0, 1)", "clamp(0.1, 1)"))
    (tmp_path / "plan.toml").write_text(PLAN)
    assert id_of(tmp_path / "plan.toml") != made


def test_the_command_line_takes_the_same_names(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder / "plans")
    assert "first" in command.cutlayer("cuts", "mine.py:Net", "--input", "1x16x16").stdout
    words = ("split", "mine.py:Net", "--cut", "first", "--data", "mine.py:squares", "--epochs", 0, "--out")
    assert "Net cut at first" in command.cutlayer(*words, tmp_path / "split").stdout
    again = command.cutlayer(*words, tmp_path / "split")
    assert again.returncode == 2
    assert "is a split folder already; replace it with --force" in again.stderr
    assert "Net cut at first" in command.cutlayer(*words, tmp_path / "split", "--force").stdout
