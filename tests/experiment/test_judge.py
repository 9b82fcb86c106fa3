"""The evaluation classifier: it is not the victim's, it is trained once, and it is right about real images."""

import numpy as np
import pytest
import torch

from cutlayer.data.parts import from_one
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.experiment import judge as module
from cutlayer.experiment.judge import PUBLISHED, judge
from cutlayer.experiment.spec import Experiment
from cutlayer.models.resnet20 import resnet20
from cutlayer.models.start import Start


@pytest.fixture(scope="module")
def data():
    """Dark and bright noise."""
    labels = np.arange(320, dtype=np.int64) % 2
    images = np.random.default_rng(0).random((320, 3, 10, 12), np.float32) / 2 + labels[:, None, None, None] / 2
    return from_one("shades", ("dark", "bright"), Dataset(images.astype(np.float32), labels), 0)


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.setattr(module, "EPOCHS", 1)
    return Experiment("digits", "resnet20", "layer1.2")


def test_it_is_trained_once_on_the_attackers_images_and_says_how_often_it_is_right(
    data, experiment, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "EPOCHS", 8)
    said: list[str] = []
    first = judge(experiment, data, tmp_path, tmp_path, said.append)
    assert said[0] == "training the evaluation classifier, resnet20, on 80 auxiliary images"
    assert first.title.startswith("resnet20 (trained on 80 auxiliary images), right about ")
    images = torch.from_numpy(data.private.inputs)
    features = first.features(images)
    assert features.shape == (40, 64)
    right = (first.logits(features).argmax(1).numpy() == data.private.labels).mean()
    assert f"right about {right:.1%} of 40 real private images." in first.title
    assert right > 0.8
    again = judge(experiment, data, tmp_path, tmp_path, said.append)
    assert sum(text.startswith("training") for text in said) == 1
    assert torch.equal(again.features(images), features)


def test_where_the_attackers_people_are_others_it_learns_from_the_training_part(data, experiment, tmp_path):
    auxiliary = data.auxiliary.at(np.flatnonzero(data.auxiliary.labels == 0))
    said: list[str] = []
    other = Splits("shades", data.classes, data.train, auxiliary, data.private, data.test)
    assert "160 training images" in judge(experiment, other, tmp_path, tmp_path, said.append).title


def test_without_classes_there_is_none(data, experiment, tmp_path):
    parts = [Dataset(part.inputs, np.full(len(part), NO_CLASS)) for part in data.parts.values()]
    said: list[str] = []
    assert judge(experiment, Splits("shades", (), *parts), tmp_path, tmp_path, said.append) is None
    assert said == ["The classes of the images are not known, so there is no evaluation classifier."]


def test_published_weights_judge_unless_they_are_the_victims(data, experiment, tmp_path, monkeypatch):
    monkeypatch.setitem(PUBLISHED, "shades", PUBLISHED["cifar10"])
    weights = tmp_path / PUBLISHED["cifar10"].names[0]
    torch.save(resnet20(data.input, 2).state_dict(), weights)
    said: list[str] = []
    assert f"resnet20 ({weights.name})" in judge(experiment, data, tmp_path, tmp_path, said.append).title
    victim = Experiment("digits", "resnet20", "layer1.2", start=Start(str(weights)))
    assert "trained on 80 auxiliary images" in judge(victim, data, tmp_path, tmp_path, said.append).title


def test_large_images_are_shrunk_first(monkeypatch):
    monkeypatch.setattr(module, "SIDE", 4)
    assert module._small(torch.arange(64.0).reshape(1, 1, 8, 8))[0, 0, 0].tolist() == [4.5, 6.5, 8.5, 10.5]
    assert module._small(torch.zeros(1, 1, 3, 8)).shape == (1, 1, 3, 4)
