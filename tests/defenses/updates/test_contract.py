"""What every defense of updates promises, and that each changes what it says it changes."""

import copy
from dataclasses import is_dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.client import gradients
from cutlayer.defenses.updates.base import Local, UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.registry import UPDATE_DEFENSES, Missing
from cutlayer.spec import image_spec

INPUT, CLASSES = image_spec(1, 8, 8), 4


class Row(NamedTuple):
    """One defense with its options.

    Attributes:
        name: Name of the defense.
        options: Its options.
        twin: ``equal`` for a map without chance that the attacker has as it is; ``close`` for one that the attacker
            has in part, because chance or what he cannot see has part in it; ``none`` for one without a map.
        acts: What the defense overrides: ``protect``, ``augment``, ``rebuilt``, ``share``.
    """

    name: str
    options: dict[str, Any]
    twin: str = "none"
    acts: str = "protect"

    def make(self, **other: Any) -> UpdateDefense:
        return UPDATE_DEFENSES.make(self.name, **{**self.options, **other})


ROWS = [
    Row("augmentation", {}, acts="augment"),
    Row("ats", {}, acts="augment"),
    Row("autoencoder", {"ratio": 4.0, "chunk": 32}, twin="equal"),
    Row("censor", {"trials": 3}, twin="equal"),
    Row("ckks", {}, acts="share"),
    Row("client-dp", {}, twin="close"),
    Row("clip", {"bound": 0.1}, twin="equal"),
    Row("dcs2", {"steps": 3}, acts="augment"),
    Row("dgc", {"sparsity": 0.9, "bound": 0.1}, twin="equal"),
    Row("dgp", {}, twin="equal"),
    Row("ffl-swap", {}, acts="share"),
    Row("fragments", {}, acts="share"),
    Row("grad-defense", {}, twin="close"),
    Row("hyperfl", {"hidden": 8, "embedding": 4}, acts="rebuilt"),
    Row("layer-prune", {"by": "sensitivity"}, twin="equal"),
    Row("layer-prune", {"rate": 0.8}, twin="equal"),
    Row("lr-perturbation", {}, twin="equal"),
    Row("noise", {"bound": 1.0}, twin="close"),
    Row("none", {}, acts=""),
    Row("outpost", {}, twin="close"),
    Row("perceptual-hash", {"block": 4}, acts="augment"),
    Row("pfgd", {"rate": 0.1}, twin="equal"),
    Row("precode", {"size": 16}, acts="rebuilt"),
    Row("prune", {"rate": 0.1, "drop": "largest", "held_back": True}, twin="equal"),
    Row("prune", {}, twin="equal"),
    Row("quantize", {"bits": 4, "rounding": "stochastic"}, twin="close"),
    Row("quantize", {"mixed": (8, 4, 2, 1)}, twin="equal"),
    Row("refiner", {"steps": 3}, acts="augment"),
    Row("sec-cnn", {}, acts="rebuilt"),
    Row("secure-aggregation", {}, acts="share"),
    Row("soteria", {"rate": 0.6}, twin="equal"),
    Row("vrm", {}, acts="augment"),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row.make()))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def local() -> Local:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    return Local(model, torch.rand(8, *INPUT.shape), torch.arange(8) % CLASSES)


@pytest.fixture(scope="module")
def update(local) -> dict[str, torch.Tensor]:
    return gradients(local.model, local.inputs, local.labels)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(np.asarray(a[k]), np.asarray(b[k])) for k in a)


def test_every_registered_defense_has_a_row_unless_it_is_not_built():
    kinds = {name: UPDATE_DEFENSES.load(name) for name in UPDATE_DEFENSES}
    assert {row.name for row in ROWS} == {name for name, kind in kinds.items() if not issubclass(kind, Missing)}
    for kind in kinds.values():
        assert is_dataclass(kind)
        assert kind.plain_words


def test_what_is_not_built_says_why_in_the_list_and_when_it_is_asked_for():
    missing = [name for name in UPDATE_DEFENSES if issubclass(UPDATE_DEFENSES.load(name), Missing)]
    assert missing
    for name in missing:
        sentence = UPDATE_DEFENSES.summary(name)
        assert sentence.startswith("Not built: ")
        with pytest.raises(ConfigError) as error:
            UPDATE_DEFENSES.make(name)
        assert str(error.value) == sentence


@each
def test_at_strength_0_nothing_changes(row, local, update):
    knob = row.make().knob
    off = row.make(**{knob: type(getattr(row.make(), knob))(0)}) if knob else row.make()
    assert not off.on
    assert off.protect_update(update, rng(), {}, local) is update
    inputs, labels = off.augment(local.inputs, local.labels, rng(), local)
    assert inputs is local.inputs
    assert labels is local.labels
    assert off.rebuilt(local.model, INPUT, CLASSES) is local.model
    shared = off.share({1: update, 2: update}, rng())
    assert same(shared[1], update)
    assert same(shared[2], update)


@each
def test_what_it_acts_on_is_changed(row, local, update):
    """A defense that returns what it was given fails here."""
    defense = row.make()
    if "protect" in row.acts:
        before = {name: value.clone() for name, value in update.items()}
        sent = defense.protect_update(update, rng(), {}, local)
        assert sent.keys() == update.keys()
        assert not same(sent, update)
        assert same(update, before), "the update was changed in place"
        for name, value in sent.items():
            assert value.shape == update[name].shape
            assert value.dtype == torch.float32
    if "augment" in row.acts:
        inputs, labels = defense.augment(local.inputs, local.labels, rng(), local)
        assert not (inputs.shape == local.inputs.shape and torch.equal(inputs, local.inputs))
        assert len(inputs) == len(labels)
        assert inputs.shape[1:] == INPUT.shape
    if "rebuilt" in row.acts:
        # A convolution, which some of the defenses look for, before the layers of the other tests.
        original = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), *copy.deepcopy(local.model))
        before = {name: value.shape for name, value in original.state_dict().items()}
        model = defense.rebuilt(original, INPUT, CLASSES)
        assert {name: value.shape for name, value in model.state_dict().items()} != before
        assert model(local.inputs).shape == (8, CLASSES)
        assert all(g.isfinite().all() for g in gradients(model, local.inputs, local.labels).values())
    if "share" in row.acts:
        if row.name == "ckks":
            pytest.importorskip("tenseal", reason="The extra he is not installed.")
        other = {name: value * 2 for name, value in update.items()}
        shared = defense.share({1: update, 2: other}, rng())
        assert not same(shared[1], update)
        for name, value in defense.summed(shared).items():
            assert value.dtype == torch.float32
            assert torch.allclose(value, 3 * update[name], atol=1e-5)


@each
def test_the_same_draws_give_the_same_update(row, local, update):
    once, again = (row.make().protect_update(update, rng(1), {}, local) for _ in range(2))
    assert same(once, again)


@each
def test_the_twin_is_the_map(row, local, update):
    defense = row.make()
    if "protect" not in row.acts:
        return
    sent = defense.protect_update(update, rng(), {}, local)
    twin = defense.twin(sent, rng(1))
    if row.twin == "none":
        assert twin is None
        return
    assert twin is not None
    leaves = {name: value.clone().requires_grad_() for name, value in update.items()}
    mapped = twin(leaves)
    assert mapped.keys() == update.keys()
    assert sum(value.square().sum() for value in mapped.values()).requires_grad, "the twin cannot be differentiated"
    if row.twin == "equal":
        for name in update:
            assert torch.allclose(mapped[name], torch.as_tensor(np.asarray(sent[name])), atol=1e-6)
