"""Defenses of sentences between real processes: what is replaced, sent and mended there is recorded."""

import tomllib

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.errors import ConfigError
from cutlayer.experiment import plan
from cutlayer.experiment.run import run_all
from cutlayer.records.reading import read
from cutlayer.sequences import PAD

PLAN = """
data = "documentation"
model = "text_transformer"
cut = "embedding"
training = {epochs = 1, images = 400}
measure = {count = 8, private = 12, auxiliary = 300, warmup = 2}
deployment = [{transport = "zmq", head = "onnx"}, {transport = "grpc", head = "torch"}]
attack = [{name = "token-ridge"}]
"""
DEFENSES = """
defense = [
  {name = "sanitize-text", noise = 0.1, epochs = 0},
  {name = "split-n-denoise", noise = 0.02, epochs = 2, hidden = 16},
]
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run_all(plan.parse(tomllib.loads(PLAN + DEFENSES)), folder, resume=True, data_root=None, say=lambda _: None)
    return {run.result.defense["name"]: run for run in read(folder)[0]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sanitize-text", "split-n-denoise"])
def test_both_are_recorded_with_their_epsilon_and_what_is_read(runs, name):
    result = runs[name].result
    assert result.defense_facts["epsilon_after_16"] == pytest.approx(16 * result.defense_facts["epsilon_after_1"])
    assert {row.deployment for row in result.privacy} == {"zmq-onnx", "grpc-torch"}
    for row in result.privacy:
        assert 0 < row.metrics["token-accuracy"].value < 0.9, "fewer are read than undefended"
    rebuilt = runs[name].pictures.by("token-ridge", "zmq-onnx")
    assert np.array_equal(rebuilt == PAD, runs[name].pictures.originals == PAD)


def test_a_defense_of_pictures_is_refused_before_anything_is_trained(tmp_path):
    experiments = plan.parse(tomllib.loads(PLAN + 'defense = [{name = "nopeek"}]'))
    assert load("documentation").modality.name == "tokens"
    with pytest.raises(ConfigError, match=r"NoPeek.* does not protect sentences: .* ids of tokens are names"):
        run_all(experiments, tmp_path, resume=True, data_root=None, say=lambda _: None)
