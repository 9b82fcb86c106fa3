"""What an interrupted run has left, damaged: the part is said, and made again."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cutlayer.attacks.base import Attack
from cutlayer.data.load import load
from cutlayer.experiment import adversary, measure, turns, victim
from cutlayer.experiment.spec import Deployment, Experiment, Measure, Training
from cutlayer.tables import Named
from tests.tiny_split import write_split

GOLDEN = Path(__file__).parents[1] / "golden"
PLACE = Deployment("zmq", "onnx")
EXPERIMENT = Experiment(
    "digits", "resnet20", "layer1.0", training=Training(epochs=0), measure=Measure(count=5, private=5, turns=2)
)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("spoil", [cut_off, lambda path: path.write_bytes(b"")])
def test_a_damaged_cache_of_the_trained_model_is_trained_again(tmp_path, spoil):
    data, told = load("digits", None, 0), []
    first = victim.trained(EXPERIMENT, data, tmp_path, told.append)
    spoil(victim.cached(EXPERIMENT, tmp_path))
    again = victim.trained(EXPERIMENT, data, tmp_path, told.append)
    assert ["training again" in line for line in told] == [False, True, False]
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    victim.trained(EXPERIMENT, data, tmp_path, told.append)
    assert len(told) == 3


@pytest.mark.parametrize("name", ["head.onnx", "split.json"])
def test_a_damaged_split_folder_is_said_and_deleted(tmp_path, name):
    told = []
    shutil.copytree(GOLDEN / "split-tiny", tmp_path / "split")
    assert victim.whole(tmp_path / "split", told.append)
    cut_off(tmp_path / "split" / name)
    assert not victim.whole(tmp_path / "split", told.append)
    assert not victim.whole(tmp_path / "split", told.append)
    assert len(told) == 1
    assert name in told[0]
    assert not (tmp_path / "split").exists()


def test_damaged_measurements_are_made_again(tmp_path, monkeypatch):
    told, final = [], tmp_path / PLACE.label
    write_split(tmp_path / "split")
    shutil.copytree(GOLDEN / "tap", final / "tap")
    (final / "record.npz").write_bytes(b"PK")
    monkeypatch.setattr(measure.processes, "cloud", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure.measure(EXPERIMENT, PLACE, tmp_path / "split", tmp_path, 1, None, told.append)
    assert "measuring again" in told[0]
    assert not final.exists()


def test_damaged_times_are_taken_again(tmp_path, monkeypatch):
    taken = {side: np.arange(4).reshape(2, 2) + 1 for side in turns.SIDES}
    monkeypatch.setattr(turns, "_measure", lambda *_: taken)
    told = []

    def take():
        return turns.take_turns(EXPERIMENT, PLACE, (tmp_path, tmp_path), np.zeros(1), tmp_path, told.append)

    take()
    cut_off(tmp_path / f"{PLACE.label}.turns.npz")
    assert take().keys() == take().keys() == taken.keys()
    assert ["again" in line for line in told] == [False, True, False]


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_damaged_attack_is_made_again(tmp_path, suffix):
    class Still(Attack):
        def fit(self, view):
            self.fitted = getattr(self, "fitted", 0) + 1

    told, still, named = [], Still(), Named("mean-image")
    seen = SimpleNamespace(kept=lambda _key, fit: fit())

    def attack():
        return adversary.attack(named, still, seen, {}, load("digits", None, 0), (), tmp_path, told.append)

    attack()
    cut_off(next(tmp_path.glob(f"*{suffix}")))
    assert attack() == attack() == adversary.Achieved()
    assert still.fitted == 2
    assert ["again" in line for line in told] == [False, True, False]
