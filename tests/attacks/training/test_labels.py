"""What every attack on labels promises, and what gradients of a small split training give away."""

from dataclasses import is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.joint_step import Trained, as_it_is, hints, layers, train
from cutlayer.attacks.training.base import LabelAttack, score
from cutlayer.defenses.gradients.iso import Iso
from cutlayer.defenses.gradients.marvell import Marvell
from cutlayer.defenses.gradients.max_norm import MaxNorm
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.registry import LABEL_ATTACKS


class Row(NamedTuple):
    """One attack: its options, what it needs beside the gradients, and whether it takes more than two classes."""

    name: str
    options: dict[str, Any]
    needs: tuple[str, ...] = ()
    known: bool = False
    classes: tuple[int, ...] = (2, 4)

    def make(self) -> LabelAttack:
        return LABEL_ATTACKS.make(self.name, **self.options)


ROWS = [
    Row("norm", {}, classes=(2,)),
    Row("direction", {}, known=True),
    Row("similarity", {}, known=True),
    Row("similarity", {"of": "smashed"}, ("smashed",), known=True),
    Row("enumeration", {}, ("smashed", "tail")),
    Row("exact", {}, ("smashed", "tail", "private")),
    Row("model-completion", {"iterations": 100}, ("smashed",), known=True),
    Row("surrogate", {"epochs": 15, "lr": 0.02}, ("smashed",), known=True),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row.make()))
PRIVATE = torch.tensor([[0.0], [1.0]])


def blobs(classes: int, n: int = 400, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs ``(N, 8)`` near one of some centers, the number of the center, and a feature of 0 or 1."""
    rng = np.random.default_rng(seed)
    rare = [0.8, 0.2] if classes == 2 else [1 / classes] * classes
    labels = rng.choice(classes, n, p=rare)
    private = rng.integers(0, 2, (n, 1)).astype(np.float32)
    centers = 1.5 * np.random.default_rng(9).standard_normal((classes, 8))
    inputs = centers[labels] + rng.standard_normal((n, 8)) + private
    return torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(labels), torch.from_numpy(private)


def trained(classes: int, protect=as_it_is, private: bool = False, epochs: int = 2) -> Trained:
    inputs, labels, feature = blobs(classes)
    wide = 6 + private
    return train(
        layers(8, 16, 6, seed=1),
        layers(wide, 16, classes, seed=2),
        inputs,
        labels,
        classes=classes,
        batch=50,
        epochs=epochs,
        lr=1e-2,
        protect=protect,
        private=feature if private else None,
    )


@pytest.fixture(scope="module")
def of_two():
    return trained(2)


@pytest.fixture(scope="module")
def of_four():
    return trained(4)


@pytest.fixture
def victims(of_two, of_four):
    return {2: of_two, 4: of_four}


def made(row: Row, classes: int, victims: dict[int, Trained], withheld: str = "") -> tuple[Trained, Any]:
    """A training and what the attack is granted of it."""
    victim = trained(classes, private=True) if "private" in row.needs else victims[classes]
    granted = {f"_{name}" for name in row.needs if name != withheld}
    missing = {name: None for name in ("_smashed", "_tail", "_private") if name not in granted}
    view = replace(victim.view, _private=PRIVATE)
    known = hints(victim.labels, 2, tuple(range(classes))) if row.known else {}
    return victim, replace(view, known=known, **missing)


def test_every_registered_attack_has_a_row():
    assert {row.name for row in ROWS} == {*LABEL_ATTACKS}
    for name in LABEL_ATTACKS:
        assert is_dataclass(LABEL_ATTACKS.load(name))
        assert LABEL_ATTACKS.load(name).plain_words


@each
def test_scores_each_class_of_each_sample_and_draws_from_its_own_seed(row, victims):
    for classes in row.classes:
        victim, view = made(row, classes, victims)
        state = torch.random.get_rng_state()
        seen = [gradient.clone() for gradient in view.gradients]
        first, again = row.make().infer(view), row.make().infer(view)
        assert first.shape == (len(victim.labels), classes)
        assert first.isfinite().all()
        assert not first.requires_grad
        torch.testing.assert_close(first, again, rtol=0, atol=1e-6)
        assert torch.equal(torch.random.get_rng_state(), state), "global randomness was touched"
        assert all(map(torch.equal, view.gradients, seen)), "what was seen was changed in place"


@each
def test_reaches_for_nothing_that_is_withheld(row, victims):
    for name in row.needs:
        _, view = made(row, 2, victims, withheld=name)
        with pytest.raises(WithheldError):
            row.make().infer(view)


@each
def test_beats_the_most_frequent_class_where_nothing_is_defended(row, victims):
    for classes in row.classes:
        victim, view = made(row, classes, victims)
        result = score(row.make(), view, victim.labels)
        assert result.n == len(victim.labels) - len(view.known)
        if classes == 2:
            assert result.auc > 0.85, result
        else:
            assert result.accuracy > result.majority + 0.2, result


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("norm", {}, "tells two classes apart, and there are 4"),
        ("direction", {}, "none is known"),
        ("similarity", {0: 1}, "a known sample of each of the 4 classes"),
        ("model-completion", {}, "none is known"),
    ],
)
def test_what_an_attack_cannot_do_is_said(name, known, message, of_four):
    with pytest.raises(ConfigError, match=message):
        LABEL_ATTACKS.make(name).infer(replace(of_four.view, known=known))


def test_the_known_samples_do_not_count(of_two):
    class Parrot(LabelAttack):
        def infer(self, view):
            scores = torch.zeros(len(of_two.labels), 2)
            scores[list(view.known)] = torch.nn.functional.one_hot(torch.tensor(list(view.known.values())), 2).float()
            return scores

    known = hints(of_two.labels, 40, (0, 1))
    assert score(Parrot(), replace(of_two.view, known=known), of_two.labels).auc == 0.5


def test_one_known_positive_gives_away_the_sign_of_every_sample(of_two):
    view = replace(of_two.view, known=hints(of_two.labels, 1, (1,)))
    found = score(LABEL_ATTACKS.make("direction"), view, of_two.labels)
    assert found.auc > 0.99
    assert found.accuracy > 0.95


def test_enumeration_and_exact_find_every_label_and_feature_from_the_true_gradient():
    victim = trained(4, private=True)
    view = replace(victim.view, _private=PRIVATE)
    exact = LABEL_ATTACKS.make("exact")
    assert score(exact, view, victim.labels).accuracy > 0.99
    feature = blobs(4)[2][victim.order, 0].numpy()
    assert (PRIVATE[exact.infer_private(view), 0].numpy() == feature).mean() > 0.99
    bare = trained(4)
    assert score(LABEL_ATTACKS.make("enumeration"), bare.view, bare.labels).accuracy > 0.99


@pytest.mark.parametrize("defense", [Iso(), MaxNorm(), Marvell(power=4.0)], ids=repr)
def test_each_defense_takes_away_from_norm_and_direction(defense, of_two):
    protected = trained(2, defense.protect_cut_gradient)
    for name in ("norm", "direction"):
        before, after = (
            score(LABEL_ATTACKS.make(name), replace(v.view, known=hints(v.labels, 1, (1,))), v.labels).auc
            for v in (of_two, protected)
        )
        assert after < before - 0.05, (name, before, after)
