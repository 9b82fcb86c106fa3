"""ATS: the list of operations, the policies, and the two scores of the search."""

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.client import observed
from cutlayer.defenses.updates.ats import OPERATIONS, Ats, accuracy_score, area, parsed, search, transformed
from cutlayer.errors import ConfigError
from tests.defenses.updates.solves import psnr, ratio, smooth


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Pictures of three channels that no operation leaves as they are by chance."""
    grid = torch.linspace(0.1, 0.9, 8)
    one = torch.stack([grid.expand(8, 8), grid[:, None].expand(8, 8), (grid * grid[:, None])])
    one = 0.8 * one + 0.2 * torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.stack([one, 0.9 - 0.5 * one, one.flip(2) * 0.8, one.flip(1) ** 2])


def test_the_list_is_that_of_the_code():
    assert len(OPERATIONS) == 50
    named = [OPERATIONS[number] for policy in parsed("3-1-7+43-18-18") for number in policy]
    assert named == [
        ("translate-x", 9), ("contrast", 6), ("translate-y", 2), ("translate-y", 3), ("contrast", 7), ("contrast", 7),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(50))
def test_each_operation_keeps_form_and_range(number, images):
    changed = transformed(images[0], (number,), rng())
    assert changed.shape == images[0].shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    # Of magnitude 0 these are nothing, and a solarization of magnitude 1 touches only the brightest pixels.
    if OPERATIONS[number] not in [("color", 0), ("solarize", 0), ("solarize", 1)]:
        assert not torch.equal(changed, images[0])


def test_a_translation_is_as_long_as_in_the_paper(images):
    """``150 / 331`` of the side at magnitude 9, to either side; what comes in is black."""
    image = torch.ones(1, 8, 8)
    columns = {int((transformed(image, (3,), rng(seed))[0, 0] == 0).sum()) for seed in range(4)}
    assert columns == {round(150 / 331 * 8)}


def test_the_attacker_reads_the_transformed_image(images):
    made = observed(smooth(192), images[:1], torch.tensor([2]), Ats(), rng())
    found = ratio(made.observation.update, "1.weight", "1.bias")
    assert psnr(found, made.inputs) > 100
    assert psnr(found, images[:1]) < 25


def test_the_area_is_1_for_a_gradient_that_never_turns_and_less_for_one_that_does(images):
    """A model that does not look at the image has one gradient along the whole way."""
    blind = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    for p in blind[1].parameters():
        nn.init.zeros_(p)
    blind[1].weight.requires_grad_(False)
    labels = torch.tensor([0, 1, 2, 3])
    assert area(blind, images, labels, rng()) == pytest.approx(1.0, abs=1e-5)
    assert 0 < area(smooth(192), images, labels, rng()) < 0.999


def test_the_accuracy_score_falls_when_the_images_become_alike(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 4))
    noise = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert accuracy_score(model, noise[:1].expand(4, -1, -1, -1) + 0.01 * noise) < accuracy_score(model, noise)


def test_the_search_ranks_by_area_and_leaves_out_what_cannot_be_trained_on(images):
    torch.manual_seed(0)
    model, labels = smooth(192), torch.tensor([0, 1, 2, 3])
    candidates = [(3, 1, 7), (0, 0, 0), (39, 39, 39)]
    ranked = search(model, model, images, labels, candidates, rng(), least_accuracy=-1e9)
    assert sorted(each.policy for each in ranked) == sorted(candidates)
    assert [each.area for each in ranked] == sorted(each.area for each in ranked)
    least = sorted(each.accuracy for each in ranked)[1]
    assert len(search(model, model, images, labels, candidates, rng(), least_accuracy=least)) == 2


@pytest.mark.parametrize("text", ["", "3-1-x", "3-50", "3+", "-1"])
def test_a_policy_of_another_form_is_refused(text):
    with pytest.raises(ConfigError, match="A policy is numbers from 0 to 49"):
        Ats(policies=text)
