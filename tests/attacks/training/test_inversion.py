"""What attacks that rebuild inputs during a training promise, and that the real service can be made to attack."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cutlayer.attacks.training.critics import Critic, deceived, gradient_penalty, mk_mmd, told_apart
from cutlayer.attacks.training.split_spy import SplitSpy
from cutlayer.attacks.training.training_inversion import SYSTEMS, TrainingInversion, system
from cutlayer.attacks.training.unsplit import UnSplit
from cutlayer.attacks.training.view import TrainingAttack, TrainingView
from cutlayer.cloud.training.attacking import attacking, drawn_anew
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.models import zoo
from cutlayer.models.halves import split
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.spec import TensorSpec, image_spec
from tests.attacks.victims import convolutional_head, smooth_images
from tests.protocols.direct import Run, dataset, planned

SMALL: dict[str, Any] = {"width": 8, "batch": 16, "capacity": "conv_normN0C16"}
ATTACKS = {
    **{name: system(name, **SMALL) for name in SYSTEMS},
    "sdar, labels kept": system("sdar", **SMALL, alignment="gan"),
    "split-spy": SplitSpy(attack=system("fsha", **SMALL), start=1),
}
each = pytest.mark.parametrize("name", ATTACKS)


def view(**changes: Any) -> TrainingView:
    images = smooth_images(60, seed=1)
    auxiliary = Dataset(images.numpy(), np.arange(60) % 3)
    smashed = TensorSpec((8, 3, 3), low=0.0)
    return replace(TrainingView(image_spec(1, 6, 6), smashed, 3, auxiliary, _new_head=convolutional_head), **changes)


def end() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 3)).train()


def arrived(n: int = 12) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return convolutional_head()(smooth_images(n, seed=2)), torch.arange(n) % 3


def begun(name: str) -> TrainingAttack:
    attack = copy.deepcopy(ATTACKS[name])
    attack.begin(view())
    return attack


@each
def test_answers_with_a_gradient_only_where_it_is_active_and_leaves_the_tail_alone(name):
    attack, tail = begun(name), end()
    (smashed, labels), before = arrived(), copy.deepcopy(tail.state_dict())
    state, kept = torch.random.get_rng_state(), smashed.clone()
    for _ in range(2):
        gradient = attack.step(smashed, labels, tail)
        assert all(torch.equal(value, before[key]) for key, value in tail.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in tail.parameters())
        assert all(module.training for module in tail.modules())
    assert torch.equal(smashed, kept)
    if name != "split-spy":  # its shadow of the tail has layers that draw, as the tail itself does
        assert torch.equal(torch.random.get_rng_state(), state), "global randomness was touched"
    assert (gradient is not None) == (name in ("fsha", "split-spy"))
    if gradient is not None:
        assert gradient.shape == smashed.shape
        assert gradient.isfinite().all()


@each
@pytest.mark.parametrize("n", [1, 5])
def test_gives_one_image_in_range_for_each_input(name, n):
    attack = begun(name)
    smashed, labels = arrived()
    attack.step(smashed, labels, end())
    images = attack.invert(smashed[:n])
    assert images.shape == (n, 1, 6, 6)
    assert images.min() >= 0
    assert images.max() <= 1
    assert not images.requires_grad


@pytest.mark.parametrize("name", [name for name in SYSTEMS if system(name).head == "same"])
def test_the_architecture_of_the_head_can_be_withheld(name):
    with pytest.raises(WithheldError, match="architecture of the head"):
        system(name, **SMALL).begin(view(_new_head=None))


def test_one_seed_one_result():
    def result() -> Tensor:
        attack = begun("sdar")
        smashed, labels = arrived()
        for _ in range(3):
            attack.step(smashed, labels, end().eval())
        return attack.invert(smashed)

    torch.testing.assert_close(result(), result(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alignment": "gans"}, "alignment must be one of none, gan, gan.label, mmd, hijack"),
        ({"head": "other"}, "head must be one of same, shadow"),
        ({"capacity": "big"}, "There is no decoder 'big'"),
    ],
)
def test_an_impossible_option_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainingInversion(**options)
    with pytest.raises(ConfigError, match="no system named 'sdarr'; did you mean sdar"):
        system("sdarr")


def test_an_alignment_by_class_needs_the_labels():
    attack = begun("sdar")
    with pytest.raises(ConfigError, match="labels stay with the client; use gan"):
        attack.step(arrived()[0], None, end())
    assert begun("sdar, labels kept").step(arrived()[0], None, end()) is None


# The parts.


def test_the_discrepancy_is_none_between_batches_of_one_law_and_grows_with_their_distance():
    random = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 200, 4, generator=random)
    values = [float(mk_mmd(first, second + shift)) for shift in (0.0, 0.5, 1.0)]
    assert abs(values[0]) < 0.01
    assert 0.01 < values[1] < values[2]


def test_a_critic_that_knows_the_class_tells_swapped_labels_apart():
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = Critic((2, 4, 4), classes=2, width=8)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    labels = torch.arange(64) % 2
    samples = torch.randn(64, 2, 4, 4, generator=random) * 0.3 + labels[:, None, None, None]
    for _ in range(60):
        loss = told_apart(critic(samples, labels), critic(samples, 1 - labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3
    assert deceived(critic(samples, labels)) < deceived(critic(samples, 1 - labels))


def test_the_penalty_of_a_linear_critic_is_known():
    critic = Critic((1, 4, 4), width=4)
    nn.Module.__setattr__(critic, "body", nn.Flatten())
    critic.score = nn.Linear(16, 1)
    with torch.no_grad():
        critic.score.weight.copy_(torch.full((1, 16), 0.75))  # of length 3
    samples = torch.randn(2, 5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert gradient_penalty(critic, *samples, torch.Generator().manual_seed(0)).item() == pytest.approx(4, rel=1e-5)


# The real service.


def attacked(plan: TrainingPlan, attack: TrainingAttack) -> Run:
    return Run(plan, tails=attacking(attack, dataset(60, 7)), sizes=(48, 13, 16)).checked()


@pytest.mark.parametrize("protocol", ["vanilla", "splitfed-v1", "parallel"])
def test_a_client_of_an_active_server_gets_its_gradients(protocol):
    plan = planned(protocol, rounds=1)
    run, honest = attacked(plan, system("fsha", **SMALL)), Run(plan, sizes=(48, 13, 16)).checked()
    got, meant = (
        {(e.client, e.step): e.what["gradient"] for e in r.seen[1] if e.name == "learned"} for r in (run, honest)
    )
    assert got.keys() == meant.keys()
    assert not any(torch.equal(got[step], meant[step]) for step in got)
    losses = [e.what["loss"] for e in run.heard if e.name == "answered"]
    assert np.isfinite(losses).all()


def test_a_passive_server_changes_no_bit_of_the_training():
    plan = planned(rounds=1)
    run, honest = attacked(plan, system("sdar", **SMALL)), Run(plan, sizes=(48, 13, 16)).checked()
    assert all(torch.equal(value, honest.whole(1)[name]) for name, value in run.whole(1).items())


def test_labels_that_stay_and_cuts_that_differ_are_refused():
    for plan in (planned("u-shaped", end="relu3"), planned("parallel", cut=["pool", "relu1", "pool"])):
        with pytest.raises(ConfigError, match="cut at one layer and send their labels"):
            attacked(plan, system("fsha", **SMALL))


def test_the_plainest_passive_server_rebuilds_digits_better_than_their_mean():
    data = load("digits", None, 0)
    model = split(zoo.build("lenet", data.input, 10, seed=1), "pool1", data.input)
    new_head = drawn_anew(model.head)
    attack = system("naive", **{**SMALL, "batch": 32, "decoder_lr": 3e-3, "lr": 3e-3})
    attack.begin(TrainingView(data.input, model.smashed, 10, data.auxiliary, _new_head=new_head))
    images, labels = torch.from_numpy(data.train.inputs), torch.from_numpy(data.train.labels)
    model.head.train(), model.tail.train()
    optimizer = torch.optim.Adam([*model.head.parameters(), *model.tail.parameters()], 3e-3)
    for index in np.random.default_rng(0).integers(len(images), size=(150, 32)):
        smashed = model.head(images[index])
        attack.step(smashed.detach(), labels[index], model.tail)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model.tail(smashed), labels[index]).backward()
        optimizer.step()
    with torch.no_grad():
        rebuilt = attack.invert(model.head(images[:200]))
    mean = torch.from_numpy(data.auxiliary.inputs).mean(0)
    assert (rebuilt - images[:200]).square().mean() < 0.8 * (mean - images[:200]).square().mean()


# UnSplit.


def test_unsplit_rebuilds_through_a_clone_that_it_finds_by_itself():
    images = smooth_images(4, seed=2)
    with torch.no_grad():
        smashed = nn.Conv2d(1, 8, 3, padding=1)(images)
    attack = UnSplit(rounds=4, iterations=25, lr=0.02)
    attack.begin(view(smashed=TensorSpec((8, 6, 6)), _new_head=lambda: nn.Conv2d(1, 8, 3, padding=1)))
    assert attack.step(smashed, None, end()) is None
    rebuilt = attack.invert(smashed)
    assert rebuilt.shape == images.shape
    assert rebuilt.min() >= 0
    assert rebuilt.max() <= 1
    again = attack.invert(smashed)
    assert torch.equal(rebuilt, again), "the clone of one call must not enter the next"
    with pytest.raises(WithheldError):
        attack.begin(view(_new_head=None))
