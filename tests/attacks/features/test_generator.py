import math

import pytest
import torch
from torch import Tensor, nn

from cutlayer.attacks.features.generator import Generator
from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from tests.attacks.victims import convolutional_head, error

SMALL = {"latent": 9, "width": 8, "prior_steps": 100, "iterations": 60}


class Exchanged(Defense):
    """Sends the channels in another order: they mislead an attacker that takes them for the head's output."""

    def protect(self, smashed, rng):
        return smashed.roll(1, 1)


class Halved(Defense):
    """Sends half of the channels, like a defense whose head gives mean and deviation."""

    def protect(self, smashed, rng):
        return smashed[:, ::2]


class Far(nn.Module):
    """An amortizer whose latent vectors are far from all pictures."""

    def forward(self, smashed):
        return torch.full((len(smashed), SMALL["latent"]), 6.0)


def again(attack: Generator, view, private: Tensor) -> float:
    """Error of an attack that was fitted before."""
    return (attack.invert(view.query(private)) - private).square().mean().item()


def test_the_latent_search_comes_near_and_the_steps_on_pixels_nearer(make_view, private):
    view, attack = make_view(convolutional_head()), Generator(pixels=150, **SMALL)
    hybrid = error(attack, view, private)
    attack._refines = False
    latent = again(attack, view, private)
    assert latent < 0.5 * error(MeanImage(), view, private)
    assert hybrid < 0.5 * latent


def test_training_the_generator_on_releases_sees_through_a_change_of_them(make_view, private):
    view, attack = make_view(convolutional_head(), Exchanged()), Generator(crafted=200, **SMALL)
    adaptive = error(attack, view, private)
    attack._generator = attack._prior.generator
    naive = again(attack, view, private)
    assert adaptive < 0.7 * naive
    assert adaptive < error(MeanImage(), view, private)


def test_of_several_starts_the_one_that_explains_the_most_is_taken(make_view, private):
    view, losses = make_view(convolutional_head()), []
    received = view.query(private)
    for starts in (1, 3):
        attack = Generator(starts=starts, pixels=0, **SMALL)
        attack.fit(view)
        # A poor first start: that of a trained amortizer is the best one on some processors.
        attack._prior.amortizer = Far()
        losses.append(attack._prior.loss(attack._head, attack._latents(received), received))
    assert (losses[1] <= losses[0]).all()
    assert (losses[1] < losses[0]).any()


@pytest.mark.parametrize("options", [{"latent": 3}, {"width": 2}])
def test_any_size_of_generator_works(make_view, private, options):
    attack = Generator(**{**SMALL, "iterations": 5, "prior_steps": 5, **options})
    assert math.isfinite(error(attack, make_view(convolutional_head()), private))


def test_a_release_of_another_shape_than_the_heads_is_refused(make_view):
    with pytest.raises(ConfigError, match=r"what arrives, 4x3x3, to have the shape of the head.s output, \(8, 3, 3\)"):
        Generator(**SMALL).fit(make_view(convolutional_head(), Halved()))
