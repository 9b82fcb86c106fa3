import pytest
import torch

from cutlayer.attacks.features.diffusion_prior import DiffusionPrior, prior
from cutlayer.attacks.queries import apart
from cutlayer.errors import ConfigError
from cutlayer.nets.diffusion import scales
from cutlayer.registry import ATTACKS
from tests.attacks.victims import constant_head, convolutional_head, error, smooth_images

NETWORK = {"width": 8, "prior_epochs": 20, "rehearsal": 16, "steps_down": 20}
DRAG = {"attack": "mean-image", "strength": (1.0,), "rate": (0.4,), "draws": 1, "misfit": ("plain",), **NETWORK}


def test_the_prior_removes_noise(make_view):
    own = apart(make_view(convolutional_head()))[0].auxiliary  # those of the other tests, which share the prior
    network = prior(own, NETWORK["width"], NETWORK["prior_epochs"], 1, torch.device("cpu"))
    unseen, t = 2 * smooth_images(64, seed=2) - 1, torch.full((64,), 0.3)
    alpha, sigma = (factor[0] for factor in scales(t))
    x = alpha * unseen + sigma * torch.randn(unseen.shape, generator=torch.Generator().manual_seed(0))
    clean = alpha * x - sigma * network(x, t)
    assert (clean - unseen).square().mean() < 0.5 * (x / alpha - unseen).square().mean()


@pytest.mark.parametrize(("guidance", "share"), [("gradient", 0.6), ("proximal", 0.6)])
def test_guided_from_noise_alone_it_finds_the_image_and_without_guidance_another(guidance, share, make_view, private):
    view = make_view(convolutional_head())
    floor = error(ATTACKS.make("mean-image"), view, private)
    guided = DiffusionPrior(guidance=(guidance,), **DRAG)
    assert error(guided, view, private) < share * floor
    blind = guided._walks((guidance, "plain", 1.0, 0.0), private * 0, view.query(private)[None])
    assert (blind - private).square().mean() > 0.9 * floor


def test_where_no_walk_helps_it_answers_as_the_attack_that_it_begins_with(make_view, private):
    view = make_view(constant_head())
    attack, start = DiffusionPrior(**{**DRAG, "prior_epochs": 1, "steps_down": 3}), ATTACKS.make("mean-image")
    attack.fit(view)
    start.fit(view)
    assert attack._setting is None
    assert torch.equal(attack.invert(view.query(private)), start.invert(view.query(private)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"misfit": ("best",)}, r"diffusion-prior\.misfit must be of plain.* not 'best'"),
        ({"guidance": ("none",)}, r"diffusion-prior\.guidance must be of proximal, gradient, not 'none'"),
        ({"rate": ()}, r"diffusion-prior\.rate must have a value or more"),
    ],
)
def test_an_impossible_option_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        DiffusionPrior(**options)
