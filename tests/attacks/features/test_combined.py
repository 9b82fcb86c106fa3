"""The attacks that combine others: stack and ensemble."""

import tomllib

import pytest
import torch

from cutlayer.attacks.features.ensemble import Ensemble
from cutlayer.attacks.features.stack import Stack, filtered, solve
from cutlayer.attacks.view import Access
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.experiment.plan import parse, toml
from tests.attacks.victims import constant_head, convolutional_head, smooth_images

PARTS = ({"name": "ridge"}, {"name": "nearest"}, {"name": "mean-image"})


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("kind", [Stack, Ensemble])
@pytest.mark.parametrize("parts", [PARTS, ({"name": "averaging", "n_releases": 4}, {"name": "nearest"})])
def test_it_is_never_worse_than_its_best_part(kind, parts, sigma, make_view, private):
    view, attack = make_view(convolutional_head(), GaussianNoise(sigma=sigma)), kind(attacks=parts)
    attack.fit(view)
    releases = torch.stack([view.query(private) for _ in range(attack.n_releases)])
    combined, *errors = (
        (part.invert_releases(releases) - private).square().mean() for part in (attack, *attack._parts)
    )
    assert combined <= 1.01 * min(errors)


def test_a_stack_is_better_than_its_parts_where_these_err_differently(make_view, private):
    def noisy(images, seed):
        noise = torch.randn(2, *images.shape, generator=torch.Generator().manual_seed(seed))
        return (images + 0.2 * noise).clamp(0, 1)

    attack, images = Stack(attacks=PARTS[:2]), smooth_images(60, seed=3)
    attack._choose(make_view(convolutional_head()), noisy(images, 1), images, torch.empty(0))
    rebuilt = noisy(private, 2)
    parts = (rebuilt - private).square().flatten(1).mean(1)
    assert (attack._combine(rebuilt, torch.empty(0)) - private).square().mean() < 0.6 * parts.min()


@pytest.mark.parametrize("kind", [Stack, Ensemble])
def test_it_sees_what_its_parts_may_see(kind):
    assert kind(attacks=({"name": "ridge"}, {"name": "white-box"})).needs is Access.WHITE_BOX
    assert kind(attacks=({"name": "mean-image"}, {"name": "ridge"})).needs is Access.BLACK_BOX
    attack = kind(attacks=({"name": "ridge"}, {"name": "averaging", "n_releases": 3}))
    assert attack.n_releases == 3
    assert {type(part).__name__ for part in attack.parts} == {kind.__name__, "Ridge", "Averaging"}


def test_an_ensemble_takes_the_picture_that_would_have_sent_the_same(make_view, private):
    """One part answers with the truth for every second input, and with another image for the rest."""
    view, attack = make_view(convolutional_head()), Ensemble(attacks=PARTS)
    attack.fit(view)
    wrong, even = smooth_images(len(private), seed=9), torch.arange(len(private)) % 2 == 0
    mixed = [torch.where(choice[:, None, None, None], private, wrong) for choice in (even, ~even)]
    assert torch.equal(attack._nearest(torch.stack(mixed), view.query(private)[None]), private)


@pytest.mark.parametrize("side", [0, 1, 3])
def test_least_squares_finds_the_filters_that_made_the_images(side):
    changes = torch.randn(2, 40, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(2 * 3 * side**2, 3, generator=torch.Generator().manual_seed(1)) if side else torch.ones(2, 1)
    wanted = filtered((side, weights), changes)
    torch.testing.assert_close(filtered(solve(side, changes, wanted, 0), changes), wanted, rtol=0, atol=0.02)


def test_behind_a_constant_head_the_best_part_answers(make_view, private):
    view = make_view(constant_head())
    attack = Ensemble(attacks=PARTS)
    attack.fit(view)
    assert not attack._selects


def test_parts_are_written_in_a_plan_and_read_again():
    attacks = [{"name": "ridge"}, {"name": "averaging", "options": {"max_system": 50}, "n_releases": 2}]
    plan = {"data": "digits", "model": "he_lenet", "cut": "pool1", "attack": [{"name": "stack", "attacks": attacks}]}
    (experiment,) = parse(plan)
    assert Stack(**experiment.attacks[0].options).attacks == tuple(attacks)
    assert parse(tomllib.loads(toml(experiment))) == [experiment]
    assert experiment.attacks[0].label.startswith("stack attacks=ridge + averaging ")
