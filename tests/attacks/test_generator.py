import pytest
import torch
from torch import Tensor

from attacks.generator import Generator
from defenses.base import Defense
from tests.attacks.victims import convolutional_head, smooth_images

SMALL = {"latent": 9, "width": 8, "prior_steps": 150, "iterations": 100}


class Exchanged(Defense):
    """Sends the channels in another order: they mislead who takes them for the head's output."""

    def protect(self, smashed, rng):
        return smashed.roll(1, 1)


def error(attack: Generator, view, private: Tensor) -> float:
    attack.fit(view)
    return (attack.invert(view.query(private)) - private).square().mean().item()


def test_it_comes_near_through_the_latent_space_and_nearer_on_pixels(make_view, private):
    view, floor = make_view(convolutional_head()), smooth_images(400, seed=1).mean(0)
    latent, hybrid = (error(Generator(pixels=pixels, **SMALL), view, private) for pixels in (0, 150))
    assert latent < 0.5 * (private - floor).square().mean()
    assert hybrid < 0.5 * latent


def test_who_trains_the_generator_on_releases_sees_through_what_changes_them(make_view, private):
    view, floor = make_view(convolutional_head(), Exchanged()), smooth_images(400, seed=1).mean(0)
    naive, adaptive = (error(Generator(crafted=n, **SMALL), view, private) for n in (0, 200))
    assert adaptive < 0.7 * naive
    assert adaptive < (private - floor).square().mean()


@pytest.mark.parametrize("options", [{"latent": 3}, {"width": 2}])
def test_any_generator_will_do(make_view, private, options):
    attack = Generator(**{**SMALL, "iterations": 5, "prior_steps": 5, **options})
    view = make_view(convolutional_head())
    attack.fit(view)
    assert torch.isfinite(attack.invert(view.query(private))).all()
