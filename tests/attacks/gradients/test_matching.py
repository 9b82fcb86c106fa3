"""The matching loop: what it finds, what it may look at, and what it refuses."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.client import Made, observed
from cutlayer.attacks.gradients.descent import adam, lbfgs
from cutlayer.attacks.gradients.distances import DISTANCES, layer_weights
from cutlayer.attacks.gradients.dlg import DLG
from cutlayer.attacks.gradients.idlg import IDLG
from cutlayer.attacks.gradients.inverting_gradients import InvertingGradients
from cutlayer.attacks.gradients.matching import Matching
from cutlayer.attacks.gradients.objective import Match
from cutlayer.attacks.gradients.priors import Pixels, Units
from cutlayer.attacks.gradients.replay import Replay
from cutlayer.attacks.gradients.view import CPU, UpdateView
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.defenses.updates.vrm import Vrm
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.models.dlg_lenet import dlg_lenet
from cutlayer.registry import UPDATE_ATTACKS
from cutlayer.spec import image_spec

QUICK: dict[str, Any] = {"iterations": 6}


class Digits(NamedTuple):
    """Digits of 8x8 px, the LeNet that DLG was shown on, and an attacker's own digits."""

    model: nn.Module
    inputs: torch.Tensor
    labels: torch.Tensor
    view: UpdateView

    def made(self, k: int, n: int = 1, defense: UpdateDefense | None = None, **how: Any) -> Made:
        part = slice(k, k + n)
        rng = np.random.default_rng(k)
        return observed(self.model, self.inputs[part], self.labels[part], defense or Unprotected(), rng, **how)


@pytest.fixture(scope="module")
def digits() -> Digits:
    data = load("digits")
    torch.manual_seed(1)
    model = dlg_lenet(image_spec(1, 8, 8)).eval()
    inputs, labels = torch.from_numpy(data.private.inputs[:8]), torch.from_numpy(data.private.labels[:8])
    own = Dataset(data.auxiliary.inputs[:64], data.auxiliary.labels[:64])
    return Digits(model, inputs, labels, UpdateView(input=image_spec(1, 8, 8), classes=10, auxiliary=own))


def psnr_db(found: torch.Tensor, true: torch.Tensor) -> float:
    return float(-10 * (found - true).square().mean().log10())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DLG, IDLG])
def test_five_digits_of_mnist_come_back_exactly_with_their_labels(kind, mnist, mnist_view):
    torch.manual_seed(0)
    model = dlg_lenet().eval()
    inputs, labels = torch.from_numpy(mnist.private.inputs[:5]), torch.from_numpy(mnist.private.labels[:5])
    rng = np.random.default_rng(0)
    observations = [
        observed(model, inputs[k : k + 1], labels[k : k + 1], Unprotected(), rng).observation for k in range(5)
    ]
    found = kind(iterations=40, restarts=4).invert(mnist_view, observations)
    scores = [psnr_db(r.inputs, x) for r, x in zip(found, inputs.split(1), strict=True)]
    assert np.median(scores) > 60
    assert torch.equal(torch.cat([r.labels for r in found]), labels)


@pytest.mark.parametrize("attack", [DLG(iterations=15), IDLG(iterations=15)], ids=["dlg", "idlg"])
def test_a_digit_comes_back_exactly_with_its_label(attack, digits):
    made = digits.made(0)
    (found,) = attack.invert(digits.view, [made.observation])
    assert psnr_db(found.inputs, made.inputs) > 60
    assert torch.equal(found.labels, made.labels)


def test_problems_in_one_batch_develop_as_each_does_alone(digits):
    observations = [digits.made(k, 2).observation for k in (0, 2, 4)]
    options: dict[str, Any] = {"iterations": 12, "direction": "gradient", "restarts": 2, "noise": 0.1, "tv": 0.1}
    together = Matching(**options).invert(digits.view, observations)
    alone = Matching(**options, together=1).invert(digits.view, observations)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.inputs, b.inputs, atol=2e-3, rtol=0)
        assert torch.equal(a.labels, b.labels)


def test_the_loop_never_touches_what_is_withheld(digits):
    observation = digits.made(0).observation
    for name in ("labels", "defense", "new_model"):
        with pytest.raises(WithheldError):
            getattr(digits.view, name)
    assert Matching(**QUICK).invert(digits.view, [observation])[0].inputs.isfinite().all()
    with pytest.raises(WithheldError, match="labels"):
        Matching(labels="known", **QUICK).invert(digits.view, [observation])
    with pytest.raises(WithheldError, match="broadcast model"):
        Matching(**QUICK).invert(digits.view, [replace(observation, _model=None)])


def test_no_system_is_given_the_true_labels_unless_it_is_told_to():
    for name in UPDATE_ATTACKS:
        assert getattr(UPDATE_ATTACKS.make(name), "labels", "") != "known", name


def test_the_answer_depends_on_the_update_alone_and_not_on_the_samples(digits):
    # The samples are changed after the update was made: an attack that looked at them would answer differently.
    made = digits.made(0)
    once = InvertingGradients(iterations=8).invert(digits.view, [made.observation])[0]
    made.inputs.copy_(made.inputs.flip(-1)), made.labels.copy_((made.labels + 1) % 10)
    again = InvertingGradients(iterations=8).invert(digits.view, [made.observation])[0]
    made.inputs.copy_(made.inputs.flip(-1)), made.labels.copy_((made.labels - 1) % 10)
    assert torch.equal(once.inputs, again.inputs)


def test_what_is_kept_is_the_iterate_that_had_the_least_objective():
    def objective(parameters, done):
        return (parameters["x"] - torch.tensor([[1.0], [3.0]])).square().sum(1) + 0.5

    start = {"x": torch.zeros(2, 1)}
    settings = {"direction": "sign", "schedule": "constant", "noise": 0.0, "project": lambda p: None}
    found = adam(objective, start, fixed=frozenset(), iterations=9, lr=0.8, era=lambda done: 0, random=[], **settings)
    torch.testing.assert_close(objective(found.parameters, 0.0), found.objective)
    assert found.objective[0] < 0.6  # of a sequence that passes 1 and goes on
    one = lbfgs(
        lambda p, done: objective(p, done)[:1], {"x": torch.zeros(1, 1)}, fixed=frozenset(), iterations=3, lr=1.0
    )
    torch.testing.assert_close(one.parameters["x"], torch.tensor([[1.0]]))


def test_a_new_era_of_the_objective_forgets_the_old_one():
    def objective(parameters, done):
        return parameters["x"].square().sum(1) + (10 if done >= 0.5 else 0)

    start = {"x": torch.ones(1, 1)}
    settings = {"direction": "gradient", "schedule": "constant", "noise": 0.0, "project": lambda p: None}
    found = adam(
        objective, start, fixed=frozenset(), iterations=8, lr=0.1, era=lambda done: done >= 0.5, random=[], **settings
    )
    assert found.objective[0] > 10


@dataclass(kw_only=True)
class Drop(UpdateDefense):
    """Sends only each second number."""

    knob = "on_"
    plain_words = "drops numbers"
    on_: float = 1.0
    differentiable: bool = True

    def protect(self, update, rng, state, local):
        return {name: value * self._mask(value) for name, value in update.items()}

    def twin(self, sent, rng):
        if not self.differentiable:
            return None
        return lambda update: {name: value * self._mask(value) for name, value in update.items()}

    @staticmethod
    def _mask(value):
        return (torch.arange(value.numel()) % 2).reshape(value.shape)


def test_an_attacker_who_knows_the_defense_applies_its_map(digits):
    made = [digits.made(0, defense=Drop())]
    observations = [m.observation for m in made]
    knows = replace(digits.view, _defense=Drop())
    aware = IDLG(iterations=8).invert(knows, observations)
    unaware = IDLG(iterations=3).invert(digits.view, observations)
    scores = [max(psnr_db(r.inputs, m.inputs) for r, m in zip(found, made, strict=True)) for found in (aware, unaware)]
    assert scores[0] > scores[1] + 20
    with pytest.raises(ConfigError, match=r"Drop changes updates, and offers no map .*adaptive = false"):
        Matching(**QUICK).invert(replace(digits.view, _defense=Drop(differentiable=False)), observations)
    hidden = replace(digits.view, _defense=Drop(differentiable=False))
    assert len(Matching(adaptive=False, **QUICK).invert(hidden, observations)) == 1


@dataclass(kw_only=True)
class Positive(UpdateDefense):
    """Sends only numbers above a bound, so that sign and unit of an update matter."""

    knob = "bound"
    plain_words = "drops small numbers"
    bound: float = 1e-4

    def protect(self, update, rng, state, local):
        return {name: value * (value > self.bound) for name, value in update.items()}

    def twin(self, sent, rng):
        return lambda update: self.protect(update, rng, {}, None)


def test_the_map_of_a_defense_gets_updates_as_they_are_sent(digits):
    defense = Positive()
    made = digits.made(0, defense=defense, local_steps=1, lr=0.05)
    attack = Matching(labels="known", distance="squares", **QUICK)
    view = replace(digits.view, _defense=defense, _labels=(made.labels,))
    match = Match(attack, view, attack._problems(view, [made.observation]))
    pixels = Pixels((1, 1, 8, 8), Units.of(view), standard=False, box=False)
    true = match.objective(pixels, [0])({"pixels": made.inputs[None]}, 0.0)
    other = match.objective(pixels, [0])({"pixels": 1 - made.inputs[None]}, 0.0)
    assert true < 1e-6 < other


def test_repeated_local_steps_are_those_of_the_client(digits):
    made = digits.made(0, 4, local_steps=3, batch=2, lr=0.1)
    replay = Replay(made.observation, CPU, simulate=True)
    labels = nn.functional.one_hot(made.labels, 10).float()
    for name, value in replay(made.inputs, labels, {}).items():
        torch.testing.assert_close(value, made.observation.update[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("batch", [0, 2, 9])
def test_repeated_steps_on_mixtures_are_those_of_the_client(digits, batch):
    """The client's batch is of what its defense makes of its samples."""
    made = digits.made(0, 3, Vrm(), local_steps=2, batch=batch, lr=0.1)
    assert made.observation.batch == {0: 6, 2: 2, 9: 6}[batch]
    replay = Replay(made.observation, CPU, simulate=True, mixed=Vrm().augment_twin)
    labels = nn.functional.one_hot(digits.labels[:3], 10).float()
    for name, value in replay(digits.inputs[:3], labels, {}).items():
        torch.testing.assert_close(value, made.observation.update[name], atol=1e-6, rtol=1e-4)


def test_statistics_of_the_batch_are_used_where_the_client_trained():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.0), nn.Flatten(), nn.Linear(108, 4)
    )
    x, y = torch.rand(5, 1, 8, 8), torch.arange(5) % 4
    for eval_mode in (True, False):
        made = observed(model, x, y, Unprotected(), np.random.default_rng(0), eval_mode=eval_mode)
        found = Replay(made.observation, CPU)(x, nn.functional.one_hot(y, 4).float(), {})
        for name, value in found.items():
            torch.testing.assert_close(value, made.observation.update[name], atol=1e-6, rtol=1e-4)


def test_every_distance_is_least_where_the_updates_are_the_same():
    torch.manual_seed(0)
    seen = [torch.randn(4, 3), torch.randn(4)]
    weights = torch.tensor([1.0, 2.0])
    for name, distance in DISTANCES.items():
        same, other = distance(seen, seen, weights), distance([-s for s in seen], seen, weights)
        assert same < 0.2 if name == "signs" else same < 2e-3
        assert other > same + 0.5


def test_layers_count_as_their_systems_say():
    assert layer_weights("equal", 3, 0.0) == [1, 1, 1]
    assert layer_weights("rising", 4, 0.0) == [0.25, 0.5, 0.75, 1]
    assert [sum(layer_weights("late-first", 110, done)) for done in (0.0, 0.04, 0.99)] == [10, 20, 85]


def test_what_cannot_be_explained_is_refused(digits):
    adam_client = replace(digits.made(0, local_steps=2, lr=0.1).observation, optimizer="adam")
    with pytest.raises(ConfigError, match=r"steps of adam.*local = 'single'"):
        Matching(local="simulate", **QUICK).invert(digits.view, [adam_client])
    with pytest.raises(ConfigError, match="no distance named 'cosin'; did you mean cosine"):
        Matching(distance="cosin")
    with pytest.raises(ConfigError, match="takes the optimizer adam"):
        Matching(group=0.1, optimizer="lbfgs")
    two = [digits.made(0, 2).observation, digits.made(2, 3).observation]
    with pytest.raises(ConfigError, match=r"\[2, 3\] samples are not of the same samples"):
        Matching(rounds=2, **QUICK).invert(digits.view, two)
    with pytest.raises(ConfigError, match="no whole number"):
        Matching(rounds=2, **QUICK).invert(digits.view, two[:1])


def test_signs_are_matched_where_a_client_kept_adam(digits):
    observation = replace(digits.made(0, local_steps=1, lr=0.1).observation, optimizer="adam")
    scaled = replace(observation, update={name: value.sign() * 0.01 for name, value in observation.update.items()})
    found = Matching(labels="known", **QUICK).invert(replace(digits.view, _labels=(digits.labels[:1],)), [scaled])
    assert found[0].inputs.isfinite().all()
