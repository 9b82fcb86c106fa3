"""Attacks that learn from gradients of the attacker's own samples: A13."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from cutlayer.attacks.gradients.learned import flat
from cutlayer.attacks.gradients.lti import LearningToInvert, paired
from cutlayer.attacks.gradients.mean import Mean
from cutlayer.attacks.gradients.ridge import GradientRidge
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.models.zoo import build
from tests.attacks.gradients.measured import psnr, updates

N = 400
"""Gradients learned from: enough for the bounds of A13, which are reached with 1,500 in the documentation."""


@dataclass(kw_only=True)
class Signs(UpdateDefense):
    """Send the signs of an update."""

    knob = "on_"
    plain_words = "sends signs"
    on_: float = 1.0

    def protect(self, update, rng, state, local):
        """See the base."""
        return {name: value.sign() for name, value in update.items()}


@pytest.fixture(scope="module")
def model(mnist):
    return build("dlg_lenet", mnist.input, 10)


@pytest.fixture(scope="module")
def floor(mnist, mnist_view, model):
    return psnr(Mean(), mnist_view, updates(model, mnist, 1, 30)).mean()


def test_a13_ridge_inverts_gradients(mnist, mnist_view, model, floor):
    assert floor == pytest.approx(12.1, abs=0.5)
    assert psnr(GradientRidge(n=N), mnist_view, updates(model, mnist, 1, 30)).mean() > 20


def test_a13_ridge_inverts_signs_if_it_knows_of_them(mnist, mnist_view, model):
    signs = updates(model, mnist, 1, 30, Signs())
    adaptive, unaware = (
        psnr(GradientRidge(n=N), view, signs).mean() for view in (replace(mnist_view, _defense=Signs()), mnist_view)
    )
    assert adaptive > 16
    assert unaware < adaptive - 2


def test_ridge_finds_the_classes_of_a_batch_and_more_than_their_means(mnist, mnist_view, model):
    made = updates(model, mnist, 8, 40)
    found = psnr(GradientRidge(n=200), mnist_view, made).mean()
    assert found > psnr(Mean(), mnist_view, made).mean() + 3


def test_kinds_of_updates_are_learned_apart(mnist, mnist_view, model):
    attack = GradientRidge(n=20)
    made = [*updates(model, mnist, 1, 2), *updates(model, mnist, 2, 4)]
    together = attack.invert(mnist_view, [m.observation for m in made])
    alone = [attack.invert(mnist_view, [m.observation])[0] for m in made]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.inputs, other.inputs)


def test_the_network_learns_to_invert(mnist, mnist_view, model, floor):
    attack = LearningToInvert(n=N, width=256, numbers=1024, epochs=20, batch=64, lr=3e-3)
    assert psnr(attack, mnist_view, updates(model, mnist, 1, 30)).mean() > floor + 1.5


def test_samples_are_paired_with_what_is_found():
    rng = np.random.default_rng(0)
    samples = torch.from_numpy(rng.random((3, 5, 7)).astype(np.float32))
    order = torch.tensor([3, 0, 4, 2, 1])
    assert torch.equal(paired(samples, samples[:, order] + 1e-3), samples[:, order])


def test_hashing_keeps_inner_products_in_the_mean():
    torch.manual_seed(0)
    one, other = torch.randn(2, 20_000)
    a, b = (flat({"w": value.reshape(100, 200)}, 4096) for value in (one, one + 0.1 * other))
    assert a.shape == (4096,)
    assert float(a @ b / (a.norm() * b.norm())) == pytest.approx(
        float(one @ (one + 0.1 * other) / (one.norm() * (one + 0.1 * other).norm())), abs=0.05
    )
    assert torch.equal(flat({"w": one[:10], "b": one[10:12]}, 12), one[:12])
