"""What each part of the search does, on a victim that is known through and through."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.answers.augment import Augment
from cutlayer.attacks.answers.fed_inverse import FedInverse
from cutlayer.attacks.answers.gmi import Gmi
from cutlayer.attacks.answers.if_gmi import IfGmi
from cutlayer.attacks.answers.lomma import Lomma
from cutlayer.attacks.answers.losses import LOSSES
from cutlayer.attacks.answers.objective import Objective, mean_features
from cutlayer.attacks.answers.ppa import Ppa
from cutlayer.attacks.answers.sampling import Sampling
from cutlayer.attacks.answers.search import Search
from cutlayer.attacks.answers.view import ClassView, Reply, Service
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.nets.priors import Pixels, Wgan
from cutlayer.spec import image_spec

SIDE = 8
QUICK = {"latent": 4, "width": 2, "prior_steps": 4, "steps": 4}


class Bright(nn.Module):
    """Logits that are the mean brightness of the left half and of the right half of an image, times 20."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(2, 2, bias=False)
        nn.init.eye_(self.last.weight)

    def forward(self, x):
        halves = torch.stack([x[..., : SIDE // 2].flatten(1).mean(1), x[..., SIDE // 2 :].flatten(1).mean(1)], 1)
        return 20 * self.last(halves)


def images(n=40):
    """Images whose halves are as bright as two numbers."""
    random = torch.Generator().manual_seed(0)
    halves = torch.rand(n, 1, 1, 2, generator=random)
    return halves.repeat_interleave(SIDE // 2, 3).expand(n, 1, SIDE, SIDE).contiguous()


@pytest.fixture
def view():
    victim = Bright().eval().requires_grad_(False)
    return ClassView(
        input=image_spec(1, SIDE, SIDE),
        classes=2,
        targets=(1, 0),
        auxiliary=Dataset(images().numpy(), np.zeros(40, np.int64)),
        reply=Reply.WEIGHTS,
        _models=(victim,),
        _service=Service(lambda x: torch.log_softmax(victim(x), 1)),
    )


def gap(pictures):
    """How much brighter the half of each class is than the other, for targets 1 and 0: ``(2, k)``."""
    left, right = pictures[..., : SIDE // 2].mean((2, 3, 4)), pictures[..., SIDE // 2 :].mean((2, 3, 4))
    return torch.stack([right[0] - left[0], left[1] - right[1]])


@pytest.mark.parametrize("step", ["adam", "momentum", "distribution"])
@pytest.mark.parametrize("loss", ["cross-entropy", "logit", "margin"])
def test_each_step_and_loss_finds_the_class(view, step, loss):
    attack = Search(prior="linear", latent=2, step=step, loss=loss, steps=60, lr=0.1 if step != "momentum" else 0.01)
    pictures = attack.represent(view, 6)
    if loss == "logit":  # what happens to the other class is of no account to it
        assert min(pictures[0, ..., SIDE // 2 :].mean(), pictures[1, ..., : SIDE // 2].mean()) > 0.7
    else:
        assert gap(pictures).median() > {"cross-entropy": 0.2, "margin": 0.6}[loss]


def test_the_surest_of_many_starts_begin(view):
    any_start = gap(Search(prior="linear", steps=1, lr=1e-6).represent(view, 5))
    surest = gap(Search(prior="linear", steps=1, lr=1e-6, starts=400).represent(view, 5))
    assert surest.min() > any_start.mean()
    assert surest.min() > 0.4


def test_the_surest_of_the_candidates_are_shown(view):
    one = gap(Search(prior="linear", steps=1, lr=1e-6).represent(view, 4))
    many = gap(Search(prior="linear", steps=1, lr=1e-6, candidates=10).represent(view, 4))
    assert many.min() > one.mean()


def test_votes_are_over_the_changes_of_the_search(view):
    attack = Search(prior="linear", steps=2, candidates=4, shift=0.2, votes=3)
    assert not torch.equal(attack.represent(view, 3), replace(attack, votes=0).represent(view, 3))


def test_a_pull_keeps_latent_vectors_near_0_and_a_bound_within_it(view):
    free = Search(prior="linear", latent=2, steps=80).represent(view, 4)
    pulled = Search(prior="linear", latent=2, steps=80, pull=100).represent(view, 4)
    bounded = Search(prior="linear", latent=2, steps=80, bound=0.01).represent(view, 4)
    mean = images().mean(0)
    assert (pulled - mean).abs().mean() < 0.3 * (free - mean).abs().mean()
    assert (bounded - mean).abs().max() < 0.02


def test_targets_in_small_parts_are_those_of_one_batch(view, monkeypatch):
    attack = Search(prior="pixels", steps=5)
    together = attack.represent(view, 3)
    monkeypatch.setattr("cutlayer.attacks.answers.search.BATCH", 3)
    torch.testing.assert_close(attack.represent(view, 3), together)


def objective(view, **options):
    prior = Wgan(4, 2, (1, SIDE, SIDE)).eval().requires_grad_(False)
    settings = {
        "networks": view.models,
        "prior": prior,
        "y": torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]),
        "loss": LOSSES["margin"],
        "random": torch.Generator().manual_seed(0),
        "augment": Augment(),
    }
    return Objective(**settings | options), prior


def test_the_objective_is_the_sum_of_its_terms(view):
    z = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    plain, prior = objective(view)
    x = prior.image(z)
    base = LOSSES["margin"](view.model(x), plain.y)
    torch.testing.assert_close(plain.value(z), base)
    features = torch.stack([x[..., :4].flatten(1).mean(1), x[..., 4:].flatten(1).mean(1)], 1)
    centre = mean_features(view.model, images())
    for options, extra in (
        ({"weight": 3.0}, 2 * base),
        ({"penalty": 2.0}, -2 * prior.critic(x).squeeze(1)),
        ({"pull": 0.5}, 0.5 * z.square().mean(1)),
        ({"features": 2.0, "centre": centre}, 2 * (features - centre).square().mean(1)),
        ({"networks": (*view.models, *view.models)}, 0 * base),
    ):
        torch.testing.assert_close(objective(view, prior=prior, **options)[0].value(z), base + extra)
    assert not view.model.last._forward_pre_hooks


def test_the_gradient_is_that_of_the_value(view):
    z = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    aim, _ = objective(view, weight=0.5, pull=0.3, penalty=0.2)
    gradient, step = aim.gradient(z), 1e-2
    for k in range(4):
        moved = step * torch.eye(4)[k]
        slopes = (aim.value(z + moved) - aim.value(z - moved)) / (2 * step)
        torch.testing.assert_close(gradient[:, k], slopes, atol=1e-2, rtol=5e-2)


def test_dependence_counts_only_where_the_halves_go_together(view):
    prior = Pixels(torch.zeros(1, SIDE, SIDE))
    half = torch.rand(10, SIDE * SIDE, generator=torch.Generator().manual_seed(3))
    other = torch.rand(10, SIDE * SIDE, generator=torch.Generator().manual_seed(4))
    y = torch.zeros(20, dtype=torch.int64)
    values = []
    for second in (half, other, half[:1].expand(10, -1)):
        aim, _ = objective(view, prior=prior, y=y, weight=0.0, diversity=1.0)
        values.append(aim.value(torch.cat([half, second]))[0].item())
    same, apart, constant = values
    assert same > apart > constant >= -1e-6
    few, _ = objective(view, prior=prior, y=y[:3], weight=0.0, diversity=1.0)
    assert few.value(half[:3]).abs().max() == 0


def test_if_gmi_without_inner_layers_is_ppa(view):
    options = QUICK | {"starts": 30, "candidates": 2, "votes": 2}
    assert torch.equal(IfGmi(**options, layers=0).represent(view, 3), Ppa(**options).represent(view, 3))


def test_inner_layers_make_the_model_surer_and_stay_in_their_ball(view):
    def sure(pictures):
        return torch.log_softmax(view.model(pictures.flatten(0, 1)), 1).view(2, 3, 2)[[0, 1], :, [1, 0]]

    options = {**QUICK, "starts": 30, "loss": "margin", "later_steps": 20}
    shallow, deep = (IfGmi(**options, layers=layers, radius=1).represent(view, 3) for layers in (0, 1))
    assert sure(deep).mean() > sure(shallow).mean()
    torch.testing.assert_close(IfGmi(**options, layers=1, radius=0).represent(view, 3), shallow)


def test_students_answer_like_the_victim_and_join_the_search(view):
    attack = Search(prior="linear", students=2, student_steps=40, steps=20)
    students = attack.imitations(view, attack.through(view))
    assert len(students) == 2
    x = images()
    agreed = [(network(x).argmax(1) == view.model(x).argmax(1)).float().mean() for network in students]
    assert min(agreed) > 0.8
    assert not torch.equal(attack.represent(view, 2), replace(attack, students=0).represent(view, 2))
    assert Search().imitations(view, view.models) == ()
    assert Lomma().students == 3


def test_a_round_of_a_training_and_all_of_them(view):
    first, last = Bright().eval(), view.model
    with torch.no_grad():
        first.last.weight.copy_(first.last.weight.flip(0))
    both = replace(view, _models=(first, last))
    attack = FedInverse(prior="linear", latent=2, steps=20, lr=0.01)
    assert gap(replace(attack, round=1).represent(both, 4)).median() < -0.3
    assert gap(replace(attack, round=2).represent(both, 4)).median() > 0.3
    assert torch.equal(attack.represent(both, 4), replace(attack, round=2).represent(both, 4))
    assert Search(every=True).through(both) == (first, last)
    with pytest.raises(ConfigError, match="holds 2 models"):
        FedInverse(round=3).through(both)
    with pytest.raises(ConfigError, match="'informed' learns from the model of the last round"):
        FedInverse(round=1, prior="informed").through(both)
    assert FedInverse(round=2, prior="informed").through(both) == FedInverse().through(both)


def test_gmi_keeps_latent_vectors_within_1(view):
    free, bounded = (Gmi(prior="linear", latent=2, steps=60, candidates=1, bound=b).represent(view, 4) for b in (0, 1))
    assert (bounded - images().mean(0)).abs().mean() < (free - images().mean(0)).abs().mean()


def test_sampling_shows_the_surest_of_its_images(view):
    few, many = (Sampling(n=n, prior="linear").represent(view, 3) for n in (3, 400))
    assert gap(many).min() > gap(few).mean()
    assert view.service.asked == 403


def test_refusals_that_say_what_to_do(view):
    for options in ({"prior": "liner"}, {"loss": "margins"}, {"step": "adm"}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Search(**options)
    with pytest.raises(ConfigError, match="set layers = 0"):
        Search(step="distribution", layers=1)
    with pytest.raises(ConfigError, match="set fewer"):
        Search(prior="linear", layers=1).represent(view, 2)
    with pytest.raises(ConfigError, match="raise n to 5"):
        Sampling(prior="linear", n=4).represent(view, 5)
    flat = replace(view, _models=(nn.Sequential(nn.Flatten(), nn.Softmax(1)),))
    with pytest.raises(ConfigError, match="last layer is linear"):
        Search(prior="linear", features=1).represent(flat, 2)
