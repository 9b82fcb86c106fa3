"""Inputs read off the first layer, by ratios (A12) and by the zeros of ReLU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.ratio import Ratio
from cutlayer.attacks.gradients.spear import Spear
from cutlayer.errors import ConfigError
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec
from tests.attacks.gradients.measured import psnr, updates


def test_a12_one_sample_is_read_off_exactly_and_most_of_eight(mnist, mnist_view):
    model = build("mlp", mnist.input, 10)
    assert psnr(Ratio(), mnist_view, updates(model, mnist, 1, 20)).min() > 100
    eight = psnr(Ratio(), mnist_view, updates(model, mnist, 8, 64))
    assert (eight > 40).mean() > 0.85


def test_one_local_step_of_sgd_is_as_good_as_a_gradient(mnist, mnist_view):
    (made,) = updates(build("mlp", mnist.input, 10), mnist, 1, 1)
    step = {name: -0.1 * g for name, g in made.observation.update.items()}
    sgd = replace(made.observation, update=step, local_steps=1, lr=0.1)
    assert psnr(Ratio(), mnist_view, [made._replace(observation=sgd)]).min() > 100
    with pytest.raises(ConfigError, match="ratio needs the size of the gradient, and steps of adamw hide it"):
        Ratio().invert(mnist_view, [replace(sgd, optimizer="adamw")])


def test_more_samples_than_units_leave_the_mean_for_the_rest(mnist, mnist_view):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.ReLU(), nn.Linear(4, 10))
    (made,) = updates(model, mnist, 16, 16)
    (found,) = Ratio().invert(mnist_view, [made.observation])
    mean = torch.from_numpy(mnist_view.auxiliary.inputs.mean(0))
    assert found.inputs.shape == (16, 1, 28, 28)
    assert sum(torch.equal(x, mean) for x in found.inputs) >= 12


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: build("lenet", image_spec(1, 28, 28), 10), "other layers lie before its layer fc1"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10, bias=False)), "gradient of the first layer's bias"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Linear(784, 10)), "other layers lie before its layer 2"),
        (lambda: nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten()), "has no such layer"),
    ],
)
def test_a_model_whose_first_layer_is_another_is_refused(model, why, mnist, mnist_view):
    torch.manual_seed(0)
    with pytest.raises(ConfigError, match=why):
        Ratio().invert(mnist_view, [updates(model(), mnist, 1, 1)[0].observation])


def test_the_answer_does_not_depend_on_the_order_of_the_samples(mnist, mnist_view):
    model = build("mlp", mnist.input, 10)
    (made,) = updates(model, mnist, 4, 4)
    sorted_ = psnr(Ratio(), mnist_view, [made])
    turned = psnr(Ratio(), mnist_view, [made._replace(inputs=made.inputs.flip(0))])
    assert np.allclose(sorted_, turned[::-1])


def test_a_batch_is_taken_apart_by_the_zeros_of_relu(mnist, mnist_view):
    made = updates(build("mlp", mnist.input, 10), mnist, 8, 40)
    assert (psnr(Spear(), mnist_view, made) > 40).mean() > 0.95
    # The zeros are what it goes by: without a ReLU it has no more than ratio.
    torch.manual_seed(0)
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.Sigmoid(), nn.Linear(256, 10))
    (one,) = updates(smooth, mnist, 8, 8)
    by_ratio, by_zeros = (attack.invert(mnist_view, [one.observation])[0] for attack in (Ratio(), Spear(draws=2048)))
    assert torch.equal(by_ratio.inputs, by_zeros.inputs)


def test_a_batch_that_would_take_too_many_draws_is_refused(mnist, mnist_view):
    (made,) = updates(build("mlp", mnist.input, 10), mnist, 32, 32)
    with pytest.raises(ConfigError, match="at most 24 samples apart; the update is from 32"):
        Spear().invert(mnist_view, [made.observation])
