"""What every defense of answers promises, and that each changes what it says it changes."""

import copy
from dataclasses import is_dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.answers.base import AnswerAttack, ClassAttack
from cutlayer.data.splits import Dataset
from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.registry import ANSWER_DEFENSES, CLASS_ATTACKS, Missing
from cutlayer.spec import image_spec
from cutlayer.training import accuracy

INPUT, CLASSES, EPOCHS = image_spec(1, 8, 8), 4, 12


class Row(NamedTuple):
    """One defense with its options.

    Attributes:
        name: Name of the defense.
        options: Its options.
        acts: What the defense overrides: ``answer``, ``train``, ``rebuilt``; nothing for no defense.
    """

    name: str
    options: dict[str, Any]
    acts: str = "answer"

    def make(self, **other: Any) -> AnswerDefense:
        return ANSWER_DEFENSES.make(self.name, **{**self.options, **other})


ROWS = [
    Row("adversarial-answers", {"learning": 100}),
    Row("bido", {}, acts="train"),
    Row("bido", {"measure": "coco", "weight_x": 1.0, "weight_y": 50.0}, acts="train"),
    Row("class-dp", {"noise": 0.1, "batch": 32}, acts="train"),
    Row("class-dp", {"noise": 0.1, "unit": "record", "batch": 32}, acts="train"),
    Row("label-only", {}),
    Row("label-smoothing", {}, acts="train"),
    Row("label-smoothing", {"alpha": 0.1}, acts="train"),
    Row("last-layer-mid", {}, acts="rebuilt"),
    Row("low-rank-header", {}, acts="rebuilt train"),
    Row("none", {}, acts=""),
    Row("perceptual-hash", {"part": 0.2, "block": 2}, acts="train"),
    Row("purifier", {"steps": 100}),
    Row("random-erasing", {}, acts="train"),
    Row("rounding", {}),
    Row("sparse-coding", {}, acts="rebuilt"),
    Row("temperature", {}),
    Row("tl-dmi", {"frozen": 1}, acts="train"),
    Row("top-scores", {}),
    Row("trap-mid", {}, acts="train"),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}-{row.options}")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = np.arange(256) % CLASSES
    inputs = rng.random((256, *INPUT.shape)).astype(np.float32) * 0.3
    for label in range(CLASSES):
        inputs[labels == label, :, 2 * label : 2 * label + 2] += 0.5
    return Dataset(inputs, labels)


def built(defense, epochs, data):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 16), nn.ReLU(),
        nn.Linear(16, CLASSES),
    )  # fmt: skip
    model = defense.rebuilt(model, INPUT, CLASSES, 0)
    public = Dataset(data.inputs[::2], data.labels[::2] + CLASSES)
    defense.train(model, data, public, epochs=epochs, seed=0, lr=8e-3)
    return model.eval()


@pytest.fixture(scope="module")
def plain(data):
    """Networks without a defense, by the number of epochs."""
    return {epochs: built(ANSWER_DEFENSES.make("none"), epochs, data) for epochs in (1, 2, EPOCHS)}


def answers(defense, model, data):
    defense.learn(model, data, 0)
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.from_numpy(data.inputs)), 1).numpy()
    return scores, defense.answer(scores, np.random.default_rng(0))


def test_each_registered_defense_has_a_row():
    kinds = {name: ANSWER_DEFENSES.load(name) for name in ANSWER_DEFENSES}
    assert {row.name for row in ROWS} == {name for name, kind in kinds.items() if not issubclass(kind, Missing)}


@each
def test_it_is_a_dataclass_with_words_for_a_reader(row):
    defense = row.make()
    assert is_dataclass(defense)
    assert defense.plain_words[:1].islower()
    assert not defense.knob or hasattr(defense, defense.knob)
    assert defense.on or row.name == "none"
    for place in filter(None, row.acts.split()):
        assert getattr(type(defense), place) is not getattr(AnswerDefense, place)


@each
def test_the_attacks_that_are_made_for_it_exist_and_have_the_option(row):
    for name in row.make().adaptive:
        attack, _, option = name.partition(".")
        assert not option or option in CLASS_ATTACKS.options(attack)
        assert issubclass(CLASS_ATTACKS.load(attack), ClassAttack | AnswerAttack)


@each
def test_strength_0_leaves_network_and_reply_as_they_are(row, data, plain):
    defense = row.make()
    if not defense.knob:
        return
    off = row.make(**{defense.knob: type(getattr(defense, defense.knob))(0)})
    assert not off.on
    assert not off.answers
    same, wanted = built(off, 1, data).state_dict(), plain[1].state_dict()
    assert wanted.keys() == same.keys()
    assert all(torch.equal(value, same[name]) for name, value in wanted.items())
    scores, told = answers(off, plain[1], data)
    assert np.array_equal(scores, told)


@each
def test_a_defended_network_learns_and_its_reply_keeps_the_class(row, data, plain):
    defense = row.make()
    # What acts on replies alone has the network of no defense, which `test_it_changes_what_it_says` compares.
    model = built(defense, EPOCHS, data) if set(row.acts.split()) - {"answer"} else plain[EPOCHS]
    right, n = accuracy(model, data)
    assert right / n > 0.6
    scores, told = answers(defense, model, data)
    before = scores.copy()
    assert told.shape == scores.shape
    assert told.dtype == np.float32
    assert np.isfinite(told).all()
    assert told.max() <= 1e-5
    assert (told.argmax(1) == scores.argmax(1)).mean() > 0.9
    assert np.array_equal(scores, before)


@each
def test_it_changes_what_it_says(row, data, plain):
    defense = row.make()
    model, without = built(defense, 2, data), plain[2].state_dict()
    changed = without.keys() != model.state_dict().keys() or any(
        not torch.equal(value, model.state_dict()[name]) for name, value in without.items()
    )
    scores, told = answers(defense, model, data)
    acts = set(row.acts.split())
    assert changed == bool(acts & {"train", "rebuilt"})
    assert (not np.array_equal(scores, told)) == ("answer" in acts)


@each
def test_what_it_learned_answers_in_another_process(row, data, plain):
    defense = row.make()
    scores, told = answers(defense, plain[1], data)
    other = row.make()
    other.deploy(copy.deepcopy(defense.learned))
    np.testing.assert_allclose(other.answer(scores, np.random.default_rng(0)), told, rtol=1e-5, atol=1e-5)
