from copy import deepcopy

import pytest
import torch

from cutlayer.defenses.surgery.blocks import blocks
from cutlayer.models.halves import split
from cutlayer.spec import image_spec

IMAGE, DIGIT = image_spec(3, 32, 32), image_spec(1, 28, 28)


@pytest.mark.parametrize(
    ("name", "cut", "shapes"),
    [
        ("he_lenet", "conv1", [(8, 24, 24)]),
        ("he_lenet", "ReLU2", [(8, 12, 12), (16, 8, 8)]),
        ("vgg11_bn", "features.7", [(64, 16, 16), (128, 8, 8)]),
        ("resnet20", "layer2.0", [(16, 32, 32)] * 4 + [(32, 16, 16)]),
    ],
)
def test_a_block_ends_before_the_next_convolution_or_with_a_residual_sum(name, cut, shapes, lively):
    image = DIGIT if name == "he_lenet" else IMAGE
    halves = split(deepcopy(lively(name, image)), cut, image)
    images = torch.rand(2, *image.shape)
    values = blocks(halves.head)(images)
    assert [tuple(value.shape[1:]) for value in values] == shapes
    assert torch.equal(values[-1], halves.head(images))


def test_they_share_the_heads_parameters(lively):
    head = split(deepcopy(lively("he_lenet", DIGIT)), "ReLU2", DIGIT).head
    assert {id(p) for p in blocks(head).parameters()} == {id(p) for p in head.parameters()}
