import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cutlayer.defenses.crafter import Crafter, implicit
from cutlayer.defenses.crafter_distilled import CHILD, CrafterDistilled
from cutlayer.defenses.crafter_z import CrafterZ
from cutlayer.errors import ConfigError
from cutlayer.nets.latent import Prior
from tests.defenses.victims import rng, small_lenet, smooth_images
from tests.nets.test_latent import Linear, response

SMALL = {"latent": 6, "width": 4, "prior_steps": 40}


@functools.cache
def hardened():
    """One prior for all tests, which leave it as it is."""
    defense = Crafter(**SMALL)
    defense.harden(small_lenet(seed=3), smooth_images(), seed=0)
    return defense


def with_prior(kind, **options):
    """A defense with the same prior and other options."""
    defense = kind(**{**SMALL, **options})
    defense._split, defense._prior = hardened()._split, hardened()._prior
    return defense


@functools.cache
def clean(n=8):
    with torch.no_grad():
        return small_lenet(seed=3).head(torch.from_numpy(smooth_images().private.inputs[:n]))


def score(defense, smashed):
    """What the prior's critic says of the attacker's reconstructions."""
    prior, head = defense._prior, defense._split.head
    z = prior.search(head, smashed, prior.amortizer(smashed), 60)
    return prior.critic(prior.generator(z)).mean().item()


def test_the_implicit_gradient_is_exact_where_the_attacker_is_linear():
    """z* = R v there, so the gradient of c . z* in v is c^T R."""
    prior = Prior(3, 2, (1, 4, 4), (1, 4, 4))
    columns = torch.linalg.qr(torch.randn(16, 3, generator=torch.Generator().manual_seed(0)))[0]
    prior.generator = Linear(columns * torch.tensor([1.0, 0.8, 0.6]))
    prior.curvature.fill_(0.14)
    smashed = torch.randn(2, 1, 4, 4)
    z = prior.search(nn.Identity(), smashed, torch.zeros(2, 3), 300)
    away = torch.randn(2, 3)
    exact = away @ response(prior.generator.matrix)
    gradient = implicit(prior, nn.Identity(), z, smashed, away, terms=80)
    torch.testing.assert_close(gradient.flatten(1), exact, rtol=1e-3, atol=1e-4)


def test_what_is_crafted_looks_more_like_the_prior_to_its_critic():
    """The critic stays as it was trained; one that learns meanwhile lowers its own score."""
    defense = with_prior(Crafter, privacy=100.0, n_critic=0, iterations=8)
    crafted = defense.protect(clean(), rng())
    assert score(defense, crafted) > score(defense, clean())


def test_more_privacy_changes_more_and_very_little_hardly_anything():
    change = [
        (with_prior(Crafter, privacy=privacy, iterations=12).protect(clean(), rng()) - clean()).square().mean().item()
        for privacy in (1e-6, 100.0)
    ]
    assert change[0] < 0.02 * clean().var()
    assert change[1] > 3 * change[0]


def test_crafter_z_releases_only_what_the_head_makes_of_some_image():
    defense = with_prior(CrafterZ, iterations=10)
    released = defense.protect(clean(), rng())
    assert (released >= 0).all()
    near = with_prior(CrafterZ, privacy=1e-9, iterations=30).protect(clean(), rng())
    assert functional.mse_loss(near, clean()) < 0.5 * clean().var()
    assert functional.mse_loss(near, clean()) > 0


@pytest.mark.parametrize("kind", [Crafter, CrafterZ])
def test_it_stays_within_what_the_head_gives_and_within_no_grad_and_inference(kind):
    defense = with_prior(kind, iterations=3)
    plain = defense.protect(clean(), rng())
    assert plain.min() >= 0
    assert not plain.requires_grad
    with torch.no_grad():
        assert torch.equal(defense.protect(clean(), rng()), plain)
    with torch.inference_mode():
        assert torch.equal(defense.protect(clean().clone(), rng()), plain)
    assert np.array_equal(defense.protect(clean().numpy(), rng()), plain.numpy())


@pytest.mark.parametrize("kind", [Crafter, CrafterZ])
def test_an_attacker_that_requires_gradients_gets_the_input_itself(kind):
    smashed = clean().clone().requires_grad_()
    assert with_prior(kind).protect(smashed, rng()) is smashed


@pytest.mark.parametrize("kind", [Crafter, CrafterZ])
def test_a_release_does_not_depend_on_what_is_crafted_beside_it(kind):
    defense = with_prior(kind, iterations=5)
    together = defense.protect(clean(), rng())
    elsewhere = defense.protect(torch.cat([clean()[:2], clean().flip(0)]), rng())
    change = (together - clean()).square().mean()
    assert functional.mse_loss(elsewhere[:2], together[:2]) < 1e-4 * change
    assert functional.mse_loss(defense.protect(clean()[:1], rng()), together[:1]) < 1e-4 * change


def test_the_prior_is_not_changed_by_protecting():
    before = {name: array.copy() for name, array in hardened().learned.items()}
    with_prior(Crafter, iterations=2).protect(clean(), rng())
    assert all(np.array_equal(before[name], array) for name, array in hardened().learned.items())


@pytest.mark.parametrize("kind", [Crafter, CrafterZ])
def test_it_refuses_to_protect_before_it_is_hardened(kind):
    with pytest.raises(ConfigError, match="only after harden"):
        kind().protect(clean(), rng())


def test_the_facts_count_the_passes():
    facts = with_prior(Crafter, iterations=450, search=80, terms=120).facts(clean().numpy())
    assert facts["passes_per_release"] == 10 * 80 + 450 * (80 + 2 + 2 * 120)
    assert "torch" in facts["device_needs"]
    assert facts["prior_bytes"] == sum(array.nbytes for array in hardened().learned.values()) > 0
    assert Crafter(privacy=0.0).facts(clean().numpy()) == {}


def test_the_distilled_network_goes_where_crafting_would():
    small = {**SMALL, "iterations": 5, "privacy": 300.0, "prior_steps": 20}
    distilled = CrafterDistilled(n_crafted=128, channels=16, epochs=60, **small)
    split_ = distilled.harden(small_lenet(seed=3), smooth_images(), seed=0)
    with torch.no_grad():
        imitated = split_.head(torch.from_numpy(smooth_images().private.inputs[:32]))
    wanted = distilled._original.protect(clean(32), rng(1))
    assert functional.mse_loss(imitated, wanted) < 0.95 * functional.mse_loss(clean(32), wanted)
    assert 0.5 < distilled.facts(wanted.numpy())["imitation_error"] < 0.97
    assert split_.smashed.shape == small_lenet(seed=3).smashed.shape


def test_untrained_the_network_changes_nothing():
    split_ = CrafterDistilled().surgery(small_lenet(seed=3))
    assert any(name.startswith(f"{CHILD}.") for name in split_.head.state_dict())
    with torch.no_grad():
        assert torch.equal(split_.head(torch.from_numpy(smooth_images().private.inputs[:8])), clean())
