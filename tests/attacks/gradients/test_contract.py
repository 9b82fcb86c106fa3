"""What every attack on updates promises."""

from dataclasses import is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.base import UpdateAttack, checked
from cutlayer.attacks.gradients.client import observed
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.data.modality import TABLE
from cutlayer.data.modality import tokens as token_modality
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.errors import ConfigError, DataError, WithheldError
from cutlayer.models.text_transformer import text_gpt
from cutlayer.registry import UPDATE_ATTACKS
from cutlayer.spec import TensorSpec, image_spec, token_spec

INPUT = image_spec(1, 8, 8)
MODALITIES = {"table": TABLE, "tokens": token_modality(20)}


class Row(NamedTuple):
    """One attack with the options that make it quick, and what it needs.

    Attributes:
        name: Name of the attack.
        options: Its options.
        samples: Numbers of samples of the updates that it can take.
        labels: Whether it needs the labels.
        of: What the samples are that it can take: image, table or tokens.
    """

    name: str
    options: dict[str, Any]
    samples: tuple[int, ...] = (1, 4)
    labels: bool = False
    of: str = "image"

    def make(self) -> UpdateAttack:
        return UPDATE_ATTACKS.make(self.name, **self.options)


GENERATOR = {"latent": 8, "width": 4, "prior_steps": 4}

ROWS = [
    Row("agic", {"iterations": 4}),
    Row("cgi", {"iterations": 4}, samples=(4, 4)),
    Row("class-mean", {}),
    Row("dager", {}, of="tokens"),
    Row("dia", {"iterations": 4}),
    Row("dlg", {"iterations": 2}),
    Row("egia", {"iterations": 4}, samples=(1, 1)),
    Row("ggi", {"iterations": 4, **GENERATOR}, samples=(1, 1)),
    Row("ggl", {"iterations": 4, "optimizer": "adam", **GENERATOR}),
    Row("gi-nas", {"iterations": 4, "candidates": 3}),
    Row("gias", {"iterations": 4, "later_iterations": 2, **GENERATOR}, samples=(1, 1)),
    Row("gifd", {"iterations": 4, "restarts": 2, **GENERATOR}, samples=(1, 1)),
    Row("gradient-ridge", {"n": 16}),
    Row("gradinversion", {"iterations": 4, "restarts": 2}),
    Row("hf-gradinv", {"iterations": 6}),
    Row("idlg", {"iterations": 2}, samples=(1, 1)),
    Row("imprint", {}),
    Row("inverting-gradients", {"iterations": 4}),
    Row("lamp", {"iterations": 3, "candidates": 2, "every": 1, "orders": 3, "language_epochs": 1}, of="tokens"),
    Row("lti", {"n": 16, "width": 8, "epochs": 2}),
    Row("matching", {"iterations": 4}),
    Row("mean", {}),
    Row("ratio", {}),
    Row("rgcir", {"iterations": 4, "denoise": 1}),
    Row("spear", {}),
    Row("tag", {"iterations": 3}, of="tokens"),
    Row("tableak", {"iterations": 4, "restarts": 3}, of="table"),
    Row("through-hypernetwork", {"attack": "mean"}),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


class Victim(NamedTuple):
    """A small model, its clients' samples, and what the attacker holds."""

    model: nn.Module
    inputs: torch.Tensor
    labels: torch.Tensor
    view: UpdateView

    def observations(self, samples: tuple[int, ...]) -> list[Observation]:
        """One undefended gradient for each number of samples, each from the first samples."""
        rng = np.random.default_rng(0)
        return [observed(self.model, self.inputs[:n], self.labels[:n], Unprotected(), rng).observation for n in samples]


@pytest.fixture(scope="module")
def victims(victim) -> dict[str, Victim]:
    """A victim for each kind of samples."""
    torch.manual_seed(0)
    rng, labels = np.random.default_rng(0), (np.arange(24) % 4).astype(np.int64)
    words = np.eye(3, dtype=np.float32)[rng.integers(3, size=24)]
    rows = np.concatenate([rng.random((24, 2), np.float32), words], 1)
    tokens = rng.integers(1, 20, size=(24, 3))
    found = {"image": victim}
    for of, inputs, spec, model in (
        (
            "table",
            rows,
            TensorSpec((5,), "float32", 0.0, 1.0),
            nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 4)),
        ),
        ("tokens", tokens, token_spec(3, 20), text_gpt(token_spec(3, 20), 4)),
    ):
        view = UpdateView(input=spec, classes=4, auxiliary=Dataset(inputs[8:], labels[8:], MODALITIES[of]))
        found[of] = Victim(model, torch.from_numpy(inputs[:8]), torch.from_numpy(labels[:8]), view)
    return found


@pytest.fixture(scope="module")
def victim() -> Victim:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 4
    inputs = (rng.random((24, 1, 8, 8)) / 2 + labels[:, None, None, None] / 8).astype(np.float32)
    auxiliary = Dataset(inputs[8:], labels[8:].astype(np.int64))
    view = UpdateView(input=INPUT, classes=4, auxiliary=auxiliary)
    return Victim(model, torch.from_numpy(inputs[:8]), torch.from_numpy(labels[:8]), view)


def test_every_registered_attack_has_a_row():
    assert {row.name for row in ROWS} == {*UPDATE_ATTACKS}
    for name in UPDATE_ATTACKS:
        kind = UPDATE_ATTACKS.load(name)
        assert is_dataclass(kind)
        assert kind.plain_words
        assert kind.plain_words[0].islower() or kind.plain_words[:3].isupper()


@each
def test_it_answers_with_inputs_of_the_right_form_and_range_and_leaves_the_model_as_it_is(row, victims):
    victim = victims[row.of]
    before = {name: value.clone() for name, value in victim.model.state_dict().items()}
    attack = row.make()
    view = victim.view
    if row.labels:
        view = replace(view, _labels=tuple(victim.labels[:n] for n in row.samples))
    if attack.active:
        pytest.skip("an active attacker has tests of its own")
    found = attack.invert(view, victim.observations(row.samples))
    assert [len(r.inputs) for r in found] == [*row.samples]
    for r in found:
        assert r.inputs.shape[1:] == view.input.shape
        assert r.inputs.dtype == getattr(torch, view.input.dtype)
        assert r.inputs.min() >= view.input.low
        assert r.inputs.max() <= view.input.high
        assert r.labels is None or r.labels.shape == (len(r.inputs),)
    for name, value in victim.model.state_dict().items():
        assert torch.equal(value, before[name])


@each
def test_two_runs_give_the_same(row, victims):
    victim = victims[row.of]
    if row.make().active:
        pytest.skip("an active attacker has tests of its own")
    view = victim.view
    if row.labels:
        view = replace(view, _labels=(victim.labels[: row.samples[0]],))
    once, again = (row.make().invert(view, victim.observations(row.samples[:1])) for _ in range(2))
    assert torch.equal(once[0].inputs, again[0].inputs)


def test_what_the_view_withholds_is_an_error(victim):
    for name in ("labels", "defense", "new_model"):
        with pytest.raises(WithheldError, match="withholds"):
            getattr(victim.view, name)
    (observation,) = victim.observations((1,))
    with pytest.raises(WithheldError, match="broadcast model"):
        _ = replace(observation, _model=None).model


def test_a_damaged_update_is_refused_and_named(victim):
    (observation,) = victim.observations((1,))
    assert checked(observation) is observation
    for change, words in (
        (lambda u: {**u, "9.weight": torch.zeros(1)}, "has no parameter '9.weight'"),
        (lambda u: {k: v for k, v in u.items() if k != "3.bias"}, "lacks the parameter '3.bias'"),
        (lambda u: {**u, "1.bias": torch.zeros(3)}, r"1.bias has the shape \(3,\), and \(32,\) in the model"),
        (lambda u: {**u, "1.bias": u["1.bias"] * float("nan")}, "NaN or infinity in 1.bias"),
    ):
        with pytest.raises(DataError, match=words):
            checked(replace(observation, update=change(observation.update)))


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="did you mean mean"):
        UPDATE_ATTACKS.make("meen")
