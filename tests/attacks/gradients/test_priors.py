"""What is searched in place of pixels, and searches without gradients."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.cgi import CGI
from cutlayer.attacks.gradients.client import observed
from cutlayer.attacks.gradients.descent import cma_es
from cutlayer.attacks.gradients.dia import DIA
from cutlayer.attacks.gradients.ggi import GGI
from cutlayer.attacks.gradients.ggl import GGL
from cutlayer.attacks.gradients.gi_nas import GINAS
from cutlayer.attacks.gradients.gifd import GIFD
from cutlayer.attacks.gradients.inverting_gradients import InvertingGradients
from cutlayer.attacks.gradients.priors import (
    Features,
    GeneratorWeights,
    Latent,
    Pixels,
    Units,
    in_ball,
    median,
    trained_generator,
)
from cutlayer.attacks.gradients.replay import Replay
from cutlayer.attacks.gradients.rgcir import RGCIR
from cutlayer.attacks.gradients.view import CPU, UpdateView
from cutlayer.data.modality import TABLE
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.errors import ConfigError
from cutlayer.spec import TensorSpec, image_spec

SIZE = {"latent": 4, "width": 4, "prior_steps": 0}
GENERATOR = SIZE["latent"], SIZE["width"], SIZE["prior_steps"]


@pytest.fixture(scope="module")
def view() -> UpdateView:
    rng = np.random.default_rng(0)
    own = Dataset(rng.random((32, 1, 8, 8)).astype(np.float32), np.arange(32) % 4)
    return UpdateView(input=image_spec(1, 8, 8), classes=4, auxiliary=own)


def network(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Sigmoid(), *more, nn.Linear(32, 4)).eval()


def test_the_nearest_point_in_an_l1_ball():
    points = torch.tensor([[3.0, 1.0], [1.0, 1.0], [-0.2, 0.3], [0.0, -5.0]])
    expected = torch.tensor([[1.0, 0.0], [0.5, 0.5], [-0.2, 0.3], [0.0, -1.0]])
    torch.testing.assert_close(in_ball(points, 1.0), expected)
    torch.testing.assert_close(in_ball(points, 0.0), torch.zeros(4, 2))


def test_a_median_takes_away_what_one_pixel_has():
    image = torch.zeros(2, 1, 1, 5, 5)
    image[0, 0, 0, 2, 2] = 1
    image[1] = 0.3
    torch.testing.assert_close(median(image), torch.stack([torch.zeros(1, 1, 5, 5), torch.full((1, 1, 5, 5), 0.3)]))


def test_pixels_in_standard_units_stay_within_the_bounds_of_samples(view):
    prior = Pixels((2, 1, 8, 8), Units.of(view), standard=True, box=True)
    parameters = {"pixels": 9 * prior.begin({}, torch.Generator().manual_seed(0))["pixels"][None]}
    prior.project(parameters)
    decoded = prior.decode({"pixels": parameters["pixels"][0]})
    torch.testing.assert_close(decoded.aminmax(), (torch.tensor(0.0), torch.tensor(1.0)), atol=1e-6, rtol=0)


def test_each_stage_of_a_generator_begins_with_the_picture_of_the_one_before(view):
    generator, random = trained_generator(view, *GENERATOR), torch.Generator().manual_seed(0)
    latent = Latent(generator, 2, 4)
    found = latent.begin({}, random)
    image = latent.decode(found)
    weights = GeneratorWeights(generator)
    torch.testing.assert_close(weights.decode(weights.begin(found, random)), image)
    layers = list(generator)
    features = Features(layers[:4], layers[4:], 0.1)
    torch.testing.assert_close(features.decode(features.begin(found, random)), image)


def test_features_stay_near_to_where_they_begin(view):
    layers = list(trained_generator(view, *GENERATOR))
    prior = Features(layers[:4], layers[4:], 0.1)
    begin = prior.begin({"z": torch.zeros(2, 4)}, torch.Generator())
    parameters = {name: value[None].clone() for name, value in begin.items()}
    parameters["features"] += 5
    prior.project(parameters)
    gap = (parameters["features"] - parameters["origin"]).abs()
    torch.testing.assert_close(gap.mean(), torch.tensor(0.1))


def test_what_is_for_images_is_refused_on_tables_and_the_rest_runs_there():
    rng = np.random.default_rng(0)
    own = Dataset(rng.random((16, 6)).astype(np.float32), np.arange(16) % 2, TABLE)
    view = UpdateView(input=TensorSpec((6,), low=0.0, high=1.0), classes=2, auxiliary=own)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 2)).eval()
    x, y = torch.from_numpy(rng.random((1, 6)).astype(np.float32)), torch.tensor([1])
    seen = [observed(model, x, y, Unprotected(), rng).observation]
    for attack, option in ((GGI(), "prior"), (InvertingGradients(), "tv"), (RGCIR(tv=0.0), "denoise")):
        with pytest.raises(ConfigError, match=rf"^{option} is for images .*\(6,\)"):
            attack.invert(view, seen)
    (found,) = InvertingGradients(iterations=150, tv=0.0).invert(view, seen)
    assert (found.inputs - x).abs().mean() < 0.1


def _generated(view: UpdateView):
    """The gradient of a picture that the generator can make, and the picture."""
    with torch.no_grad():
        image = trained_generator(view, *GENERATOR)(torch.randn(1, 4, generator=torch.Generator().manual_seed(5)))
    made = observed(network(), image, torch.tensor([2]), Unprotected(), np.random.default_rng(0))
    return made.observation, image


@pytest.mark.parametrize(
    "attack",
    [
        GGI(iterations=80, lr=0.1, **SIZE),
        GGL(iterations=25, population=12, likely=0.0, **SIZE),
        GIFD(iterations=25, restarts=2, **SIZE),
    ],
    ids=["ggi", "ggl", "gifd"],
)
def test_a_picture_that_the_generator_can_make_is_found(attack, view):
    observation, image = _generated(view)
    (found,) = attack.invert(view, [observation])
    before = float((torch.from_numpy(view.auxiliary.inputs.mean(0)) - image).square().mean())
    assert float((found.inputs - image).square().mean()) < 0.05 * before


def test_without_the_package_cma_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(ConfigError, match=r"cma is not installed; install cutlayer\[cma\].*adam does without"):
        cma_es(
            lambda p, done: p["z"].sum(1), {"z": torch.zeros(1, 2)}, fixed=frozenset(), iterations=1, population=4,
            sigma=1.0, seed=0,
        )  # fmt: skip


def test_masks_of_dropout_are_part_of_what_a_client_computes():
    model = network(nn.Dropout(0.5))
    masks = []
    hook = model[3].register_forward_hook(lambda _, args, output: masks.append((output != 0).float()))
    x, y = torch.rand(2, 1, 8, 8), torch.tensor([1, 3])
    made = observed(model, x, y, Unprotected(), np.random.default_rng(0), eval_mode=False)
    hook.remove()
    model[3]._forward_hooks.clear()
    replay = Replay(made.observation, CPU, masks=True)
    shares = nn.functional.one_hot(y, 4).float()
    for name, value in replay(x, shares, {"3": masks[0]}).items():
        torch.testing.assert_close(value, made.observation.update[name], atol=1e-6, rtol=1e-4)
    wrong = replay(x, shares, {"3": torch.ones(2, 32)})
    assert not torch.allclose(wrong["1.weight"], made.observation.update["1.weight"], atol=1e-4)


def test_dropout_is_searched_with_the_samples(view):
    model = network(nn.Dropout(0.5))
    x, y = torch.from_numpy(view.auxiliary.inputs[:1]), torch.tensor([1])
    made = observed(model, x, y, Unprotected(), np.random.default_rng(0), eval_mode=False)
    errors = []
    for masks in (True, False):
        (found,) = DIA(iterations=80, masks=masks, tv=0.0).invert(view, [made.observation])
        errors.append(float((found.inputs - x).square().mean()))
    assert errors[0] < 0.5 * errors[1]


def test_several_rounds_of_the_same_samples_are_explained_together(view):
    x, y = torch.from_numpy(view.auxiliary.inputs[:2]), torch.tensor([1, 2])
    observations = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 4)).eval()
        observations.append(observed(model, x, y, Unprotected(), np.random.default_rng(0)).observation)
    together = CGI(iterations=20, tv=0.0).invert(view, observations)
    assert torch.equal(together[0].inputs, together[1].inputs)
    alone = CGI(iterations=20, tv=0.0, rounds=1).invert(view, observations)
    assert not torch.equal(alone[0].inputs, alone[1].inputs)
    assert not torch.equal(alone[0].inputs, together[0].inputs)


def test_a_network_is_chosen_for_each_update():
    with pytest.raises(ConfigError, match="together must be 1"):
        GINAS(together=2)
