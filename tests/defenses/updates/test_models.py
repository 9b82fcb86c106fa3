"""HyperFL and SecCNN: what each changes, and the attack that it falls to."""

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.client import gradients, observed
from cutlayer.attacks.gradients.through_hypernetwork import opened
from cutlayer.defenses.updates.hyperfl import Generated, HyperFL
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.defenses.updates.sec_cnn import SecCnn, Upsampled, convolutions, equations
from cutlayer.errors import ConfigError
from cutlayer.spec import image_spec
from tests.defenses.updates.solves import matched, psnr, ratio, smooth

INPUT, LABELS = image_spec(1, 8, 8), torch.tensor([1])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hyper() -> nn.Module:
    model = smooth()
    return HyperFL(hidden=8, embedding=4).rebuilt(model, INPUT, 4)


def test_only_the_hypernetwork_is_shared(hyper, image):
    update = observed(hyper, image, LABELS, Unprotected(), rng()).observation.update
    assert {name.partition(".")[0] for name in update} == {"layer", "heads"}
    assert not any("3/" in name for name in update), "the classifier stays with the client"


def test_the_update_holds_the_gradient_of_the_weights(hyper, image):
    """The gradient of the last biases is that of the weights that they are added to, by the chain rule."""
    update = observed(hyper, image, LABELS, Unprotected(), rng()).observation.update
    plain = smooth()
    plain.load_state_dict({**plain.state_dict(), **{n: w.detach() for n, w in hyper.weights().items()}})
    expected = gradients(plain, image, LABELS)
    found = hyper.gradient_of_weights(update)
    assert found.keys() == {"1.weight", "1.bias"}
    for name, value in found.items():
        assert torch.allclose(value, expected[name], atol=1e-6)


def test_the_sample_is_read_through_the_hypernetwork(hyper, image):
    seen = opened(observed(hyper, image, LABELS, Unprotected(), rng()).observation)
    assert dict(seen.model.named_parameters()).keys() == seen.update.keys()
    assert psnr(ratio(dict(seen.update), "1.weight", "1.bias"), image) > 80


def test_a_model_that_cannot_keep_its_classifier_is_refused():
    with pytest.raises(ConfigError, match="last linear layer"):
        Generated(nn.Conv2d(1, 1, 3), 4, 8)


@pytest.fixture
def convolved() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.Sigmoid(), nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Sigmoid(),
        nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip
    for p in model.parameters():
        nn.init.uniform_(p, -0.5, 0.5)
    return model


def test_the_layer_with_the_most_unknowns_above_its_equations_is_upsampled(convolved):
    first, second = convolutions(convolved, INPUT)
    assert (first.unknowns, first.equations) == (64, 128 + 18)
    assert (second.unknowns, second.equations) == (128, 64 + 72)
    assert isinstance(SecCnn().rebuilt(convolved, INPUT, 4)[2], Upsampled)


def test_upsampling_takes_the_rank_of_who_solves_for_the_layers_input_alone(convolved):
    """The unknowns before the upsampling are as determined as they were without it."""
    shape, plain = (1, 8, 8), convolved[0]
    upsampled = Upsampled(plain, 2, (8, 8))
    rank = torch.linalg.matrix_rank
    assert int(rank(equations(plain, shape))) == 64
    rows = equations(upsampled, shape)
    assert rows.shape == (128 + 18, 256)
    assert int(rank(rows)) <= 128 + 18
    assert int(rank(equations(upsampled, shape, below=True))) == 64


def test_matching_does_not_mind_the_upsampling(convolved, image):
    model = SecCnn().rebuilt(convolved, INPUT, 4)
    update = observed(model, image, LABELS, Unprotected(), rng()).observation.update
    found = matched(model, update, LABELS, (1, 8, 8), lambda x, y: (x, y), starts=3)
    assert psnr(found, image) > 30


def test_a_model_without_convolutions_is_refused():
    with pytest.raises(ConfigError, match="this model has none"):
        SecCnn().rebuilt(smooth(), INPUT, 4)
