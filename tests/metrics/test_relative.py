import pytest
import torch

from cutlayer.metrics.base import Beside
from cutlayer.metrics.image import SSIM
from cutlayer.metrics.relative import RDLV


@pytest.fixture
def images():
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_prior_itself_has_none_and_a_copy_has_all(images):
    prior = images.mean(0)
    guess = prior.expand_as(images)
    beside, alike = Beside(prior=prior), SSIM.score(guess, images, images)
    assert RDLV.score(guess, images, images, beside).tolist() == [0] * 4
    assert torch.allclose(RDLV.score(images, images, images, beside), (1 - alike) / alike)


def test_a_prior_that_has_nothing_in_common_does_not_outweigh_everything(images):
    beside = Beside(prior=1 - images[0])
    assert SSIM.score(beside.prior[None], images[:1], images).item() < 0.01
    assert 100 < RDLV.score(images[:1], images[:1], images, beside).item() < 200
