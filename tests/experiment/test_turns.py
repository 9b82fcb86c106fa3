"""What a defense adds to a request: two deployments that take turns, and the interval of the difference."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.errors import ConfigError
from cutlayer.experiment import run
from cutlayer.experiment.spec import Deployment, Experiment, Measure
from cutlayer.experiment.turns import IN_A_TURN, SIDES, added, take_turns
from cutlayer.tables import Named

SPLIT = Path(__file__).parents[1] / "golden" / "split-tiny"
EXPERIMENT = Experiment("digits", "resnet20", "layer1.0", measure=Measure(count=50, private=12, turns=3))


def test_both_sides_send_as_many_requests_and_a_second_call_reads_the_times(tmp_path):
    images, told = np.random.default_rng(0).random((5, 1, 6, 6)).astype(np.float32), []
    folders = SPLIT, SPLIT
    times = take_turns(EXPERIMENT, Deployment("zmq", "onnx"), folders, images, tmp_path, told.append)
    assert {side: values.shape for side, values in times.items()} == dict.fromkeys(SIDES, (3, IN_A_TURN))
    assert all((values > 0).all() for values in times.values())
    again = take_turns(EXPERIMENT, Deployment("zmq", "onnx"), folders, images, tmp_path, told.append)
    assert len(told) == 1
    assert all(np.array_equal(times[side], again[side]) for side in SIDES)


def test_what_both_sides_meet_is_not_counted_and_what_one_adds_is():
    rng = np.random.default_rng(0)
    moments = rng.lognormal(14, 1, (30, 1))  # Busy moments of the machine: 0.3 to 10 ms, the same for both sides.
    undefended = moments + rng.exponential(20_000, (30, IN_A_TURN))
    slower = moments + rng.exponential(20_000, (30, IN_A_TURN)) + 200_000
    found = added({"defended": slower, "undefended": undefended}, seed=0)
    assert (found.n, found.value) == (30, pytest.approx(200_000, rel=0.1))
    assert 150_000 < found.low < found.high < 250_000
    same = added({"defended": undefended[::-1], "undefended": undefended}, seed=0)
    assert same.low < 0 < same.high


def test_the_other_side_is_the_same_model_without_the_defense(tmp_path, monkeypatch):
    exported, asked = [], []
    monkeypatch.setattr(run.victim, "export", lambda experiment, *rest: exported.append((experiment.defense, *rest)))
    monkeypatch.setattr(run, "take_turns", lambda _, place, folders, *rest: asked.append((place, folders)) or {})
    data, model, split, work = load("digits", None, 0), object(), tmp_path / "split", tmp_path / "measured"
    noisy = replace(EXPERIMENT, defense=Named("gaussian-noise", {"sigma": 0.5}))
    assert run._turns(EXPERIMENT, model, data, split, work, tmp_path, print) == {}
    assert run._turns(noisy, model, data, split, work, tmp_path, print).keys() == {"zmq-onnx"}
    assert asked == [(Deployment(), (split, work / "undefended"))]
    assert exported == [(Named("none"), model, data, work / "undefended", print, tmp_path)]


@pytest.mark.parametrize("turns", [-1, 1])
def test_turns_without_an_interval_are_refused(turns):
    with pytest.raises(ConfigError, match=r"measure\.turns must be 0, or at least 2"):
        run.check(replace(EXPERIMENT, measure=Measure(count=5, private=5, turns=turns)), load("digits", None, 0))
