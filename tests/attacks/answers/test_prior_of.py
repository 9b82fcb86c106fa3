from dataclasses import replace

import numpy as np
import pytest
import torch

from cutlayer.attacks.answers.prior_of import PRIORS, prior_of
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.spec import TensorSpec, image_spec


@pytest.fixture
def view():
    own = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
    return ClassView(
        input=image_spec(1, 8, 8),
        classes=2,
        targets=(0, 1),
        auxiliary=Dataset(own, np.zeros(20, np.int64)),
        reply=Reply.LABEL,
    )


@pytest.mark.parametrize("name", ["linear", "mean-image", "pixels", "wgan"])
def test_made_once_in_a_study_and_frozen(view, name):
    prior = prior_of(view, name, latent=4, width=2, steps=4)
    assert prior_of(view, name, latent=4, width=2, steps=4) is prior
    assert not prior.training
    image = prior.image(prior.sample(2, None, torch.Generator().manual_seed(0)))
    assert image.shape == (2, *view.input.shape)


def test_refusals_that_say_what_to_do(view):
    with pytest.raises(ConfigError, match="linear"):
        prior_of(view, "liner")
    with pytest.raises(ConfigError, match="two are the least"):
        prior_of(replace(view, auxiliary=view.auxiliary.take(1)), "linear")
    with pytest.raises(ConfigError, match="run it on images"):
        prior_of(replace(view, input=TensorSpec((5,))), "linear")


def test_names_in_order():
    assert list(PRIORS) == sorted(PRIORS)


def test_pixels_start_at_grey_or_at_the_mean_of_the_attackers_images(view):
    random = torch.Generator().manual_seed(0)
    grey, mean = (prior_of(view, name).sample(400, None, random).mean(0) for name in ("pixels", "mean-image"))
    torch.testing.assert_close(grey, torch.full((64,), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(mean, torch.from_numpy(view.auxiliary.inputs).mean(0).flatten(), atol=0.02, rtol=0)
