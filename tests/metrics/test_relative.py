import pytest
import torch

from cutlayer.metrics.base import Context
from cutlayer.metrics.image import SSIM
from cutlayer.metrics.relative import RDLV


@pytest.fixture
def images():
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_prior_itself_has_none_and_a_copy_has_all(images):
    prior = images.mean(0)
    guess = prior.expand_as(images)
    context, alike = Context(prior=prior), SSIM.score(guess, images, images)
    assert RDLV.score(guess, images, images, context).tolist() == [0] * 4
    assert torch.allclose(RDLV.score(images, images, images, context), (1 - alike) / alike)


def test_a_prior_that_has_nothing_in_common_does_not_outweigh_everything(images):
    context = Context(prior=1 - images[0])
    assert SSIM.score(context.prior[None], images[:1], images).item() < 0.01
    assert 100 < RDLV.score(images[:1], images[:1], images, context).item() < 200
