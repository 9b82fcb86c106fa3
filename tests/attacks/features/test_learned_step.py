import pytest
import torch

from cutlayer.attacks.features.learned_step import LearnedStep
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.nets.corrector import Corrector
from cutlayer.registry import ATTACKS
from tests.attacks.victims import constant_head, convolutional_head, error

QUICK = {"corrections": 2, "width": 8, "blocks": 1, "epochs": 8, "lr": 1e-2}


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize(
    ("name", "options"),
    [("mean-image", {}), ("ridge", {}), ("averaging", {"attack": "ridge", "n_releases": 4})],
)
def test_it_is_never_worse_than_the_attack_it_begins_with(name, options, sigma, make_view, private):
    view = make_view(convolutional_head(), GaussianNoise(sigma=sigma))
    attack = LearnedStep(attack=name, options=options, **QUICK)
    attack.fit(view)
    releases = torch.stack([view.query(private) for _ in range(attack.n_releases)])
    corrected, start = (part.invert_releases(releases) for part in attack.parts[:2])
    assert (corrected - private).square().mean() <= 1.01 * (start - private).square().mean()


def test_it_learns_what_the_start_does_not_know(make_view, private):
    view = make_view(convolutional_head())
    floor = error(ATTACKS.make("mean-image"), view, private)
    assert error(LearnedStep(attack="mean-image", **QUICK), view, private) < 0.3 * floor


def test_behind_a_constant_head_it_takes_no_harmful_step(make_view, private):
    view = make_view(constant_head())
    floor = error(ATTACKS.make("mean-image"), view, private)
    assert error(LearnedStep(attack="mean-image", **QUICK), view, private) < 1.01 * floor


@pytest.mark.parametrize(("smashed", "image"), [((8, 7, 7), (1, 28, 28)), ((40,), (3, 9, 11)), ((16, 6), (3, 8, 8))])
def test_an_untrained_corrector_changes_nothing_in_any_shape(smashed, image):
    network = Corrector(smashed, image, pictures=3, width=4, blocks=1)
    channels, *size = image
    correction = network(torch.rand(2, 3 * channels, *size), torch.rand(2, *smashed))
    assert torch.equal(correction, torch.zeros(2, *image))
