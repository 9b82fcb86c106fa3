"""PRECODE: what is random, what is in the loss, and the attack it falls to."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from cutlayer.attacks.gradients.client import observed
from cutlayer.attacks.gradients.labels import labels_of
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.defenses.updates.precode import Precode
from cutlayer.errors import ConfigError
from cutlayer.spec import image_spec
from cutlayer.training import loss_of
from tests.defenses.updates.solves import psnr, ratio, smooth

INPUT = image_spec(1, 8, 8)
LABELS = torch.tensor([1])


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def rebuilt(beta: float = 1e-3) -> nn.Module:
    model = smooth()
    torch.manual_seed(0)
    return Precode(size=16, beta=beta).rebuilt(model, INPUT, 4).eval()


def update(model: nn.Module, image: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    return observed(model, image, LABELS, Unprotected(), np.random.default_rng(seed)).observation.update


def test_the_gradient_cannot_be_repeated_without_the_draws(image):
    model = rebuilt()
    once, same, other = (update(model, image, seed) for seed in (0, 0, 1))
    flat = [torch.cat([g.flatten() for g in u.values()]) for u in (once, same, other)]
    assert torch.equal(flat[0], flat[1])
    assert functional.cosine_similarity(flat[0], flat[2], dim=0) < 0.9


def test_the_first_layer_tells_the_sample_exactly_all_the_same(image):
    found = ratio(update(rebuilt(), image, 0), "body.1.weight", "body.1.bias")
    assert psnr(found, image) > 100


def test_the_label_is_read_from_the_last_layer_all_the_same(image):
    model = rebuilt()
    view = UpdateView(input=INPUT, classes=4, auxiliary=Dataset(image.numpy(), np.zeros(1, np.int64)))
    for label in range(4):
        made = observed(model, image, torch.tensor([label]), Unprotected(), np.random.default_rng(label))
        for way in ("negative", "counts"):
            assert labels_of(way, made.observation, view).tolist() == [label], way


def test_the_loss_holds_the_divergence_in_bits(image):
    model, plain = rebuilt(beta=0.5), rebuilt(beta=0.0)
    values = []
    for each in (model, plain):
        torch.manual_seed(2)
        values.append(loss_of(each, image, LABELS).item())
    mean, s = model.encoder(model.body(image)).chunk(2, dim=1)
    bits = kl_divergence(Normal(mean, functional.softplus(s)), Normal(0.0, 1.0)).sum() / np.log(2)
    assert values[0] - values[1] == pytest.approx(0.5 * bits.item(), rel=1e-4)


def test_a_model_that_does_not_end_with_a_linear_layer_is_refused_and_stays_as_it_is(image):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU())
    before = model(image)
    with pytest.raises(ConfigError, match="must be a linear layer"):
        Precode().rebuilt(model, INPUT, 4)
    assert torch.equal(model(image), before)
