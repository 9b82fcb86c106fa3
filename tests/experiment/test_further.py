"""The undefended model gets as many further epochs as the defense with which it is compared."""

from dataclasses import replace

import torch

from cutlayer.data.load import load
from cutlayer.experiment import victim
from cutlayer.experiment.spec import Experiment, Training
from cutlayer.models.halves import split
from cutlayer.registry import DEFENSES

EXPERIMENT = Experiment("digits", "resnet20", "layer1.0", training=Training(epochs=0, images=64))


def _trained(tmp_path):
    data = victim.shown(EXPERIMENT, load("digits"))
    return data, victim.trained(EXPERIMENT, data, tmp_path, print)


def test_no_further_epochs_leave_the_model_as_it_is(tmp_path):
    data, model = _trained(tmp_path)
    assert victim.further(EXPERIMENT, model, data, 0, tmp_path, print) is model


def test_the_baseline_is_trained_once_and_as_the_undefended_defense_trains(tmp_path):
    data, model = _trained(tmp_path)
    before, said = {name: value.clone() for name, value in model.state_dict().items()}, []
    first, second = (victim.further(EXPERIMENT, model, data, 1, tmp_path, said.append) for _ in range(2))
    assert len([line for line in said if "further, epochs: 1," in line]) == 1
    image = torch.from_numpy(data.test.inputs[:4])
    halves = DEFENSES.make("none", epochs=1).harden(split(model, "layer1.0", data.input), data, seed=0)
    with torch.no_grad():
        assert torch.equal(first(image), second(image))
        assert torch.allclose(first(image), halves.tail(halves.head(image)), atol=1e-5)
        assert not torch.allclose(first(image), model(image))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_other_seeds_and_numbers_of_epochs_are_other_baselines(tmp_path):
    data, model = _trained(tmp_path)
    victim.further(EXPERIMENT, model, data, 1, tmp_path, print)
    other = replace(EXPERIMENT, seed=1)
    victim.further(other, victim.trained(other, data, tmp_path, print), data, 1, tmp_path, print)
    assert len(list((tmp_path / "models").glob("*-1-more.safetensors"))) == 2
