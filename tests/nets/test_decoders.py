import pytest
import torch

from cutlayer.nets.decoders import Capacity, build, parse
from cutlayer.nets.grid import Fit, Grid, Standardize, parted, standardize

LADDER = ["he-small", "conv_normN0C16", "conv_normN2C32", "res_normN4C64", "res_normN8C64"]
SHAPES = {
    "digits": ((16, 4, 4), (1, 8, 8)),
    "lfw": ((16, 6, 6), (1, 25, 25)),
    "lenet conv1": ((8, 24, 24), (1, 28, 28)),
    "lenet relu2": ((16, 8, 8), (1, 28, 28)),
    "vgg": ((128, 8, 8), (3, 32, 32)),
    "as large as the image": ((64, 32, 32), (3, 32, 32)),
    "larger than the image": ((4, 64, 64), (3, 32, 32)),
    "one pixel": ((512, 1, 1), (3, 32, 32)),
    "vector": ((120,), (1, 28, 28)),
    "odd vector": ((10,), (1, 25, 25)),
    "vit tokens": ((17, 24), (3, 32, 32)),
    "swin": ((4, 4, 96), (3, 32, 32)),
    "oblong": ((8, 4, 6), (1, 16, 24)),
}


@pytest.mark.parametrize(("smashed", "image"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", LADDER[:4])
def test_any_smashed_data_becomes_an_image(name, smashed, image):
    assert build(name, smashed, image)(torch.randn(2, *smashed)).shape == (2, *image)


def test_the_ladder_rises():
    sizes = [sum(p.numel() for p in build(name, (64, 8, 8), (3, 32, 32)).parameters()) for name in LADDER[1:]]
    assert sizes == sorted(sizes)


def test_names_become_fields():
    assert parse("res_normN4C64") == Capacity("res", 4, 64)
    assert parse("conv_normN0C16") == Capacity("conv", 0, 16)


def test_features_keep_their_place():
    """Stride-2 features of an unpadded network cover the middle of the image."""
    grid = torch.zeros(1, 1, 8, 8)
    grid[..., 3:5, 3:5] = 1
    padded = Fit(14, 14)(grid)
    assert torch.equal(padded, padded.flip(2, 3))
    assert torch.equal(Fit(8, 8)(padded), grid)


def test_tokens_become_a_grid_without_the_class_token():
    tokens = torch.arange(5.0).view(1, 5, 1)
    assert Grid((5, 1), (3, 32, 32))(tokens).tolist() == [[[[1, 2], [3, 4]]]]


def test_standardizing_leaves_mean_zero_and_deviation_one():
    data = torch.randn(50, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 7 + 2
    data[:, 2] = 5
    layer = Standardize(3)
    layer.measure(data)
    deviation, mean = torch.std_mean(layer(data), dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.parametrize(("smashed", "image"), SHAPES.values(), ids=SHAPES)
def test_the_layers_without_weights_and_the_rest_are_the_whole(smashed, image):
    network, data = build("conv_normN0C16", smashed, image).eval(), torch.randn(2, *smashed)
    standardize(network, 3 * data + 1)
    fixed, body = parted(network)
    assert list(fixed.parameters()) == []
    assert {id(weights) for weights in body.parameters()} == {id(weights) for weights in network.parameters()}
    assert torch.equal(body(fixed(data)), network(data))
