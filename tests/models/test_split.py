from copy import deepcopy
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional

from cutlayer.data.modality import TABLE
from cutlayer.errors import SplitError
from cutlayer.models.cuts import cut_nodes, cuts
from cutlayer.models.halves import graft, join, split, split_at
from cutlayer.models.zoo import build
from cutlayer.registry import MODELS
from cutlayer.spec import TensorSpec, image_spec, token_spec
from tests.models.lively import random_inputs

GRAY, RGB = image_spec(1, 28, 28), image_spec(3, 32, 32)


class Row(NamedTuple):
    """One registered model.

    Attributes:
        input: Small images that it can take.
        front: A cut near the input.
        back: A cut near the output. The head of `front` and the tail of `back` together have every kind of block.
    """

    input: TensorSpec
    front: str
    back: str


ROWS = {
    "he_lenet": Row(GRAY, "ReLU2", "ReLU2"),
    "he_cifar10cnn": Row(RGB, "ReLU22", "ReLU22"),
    "lenet": Row(image_spec(1, 16, 12), "pool1", "relu2"),
    "lenet_bn": Row(image_spec(1, 16, 12), "pool1", "relu2"),
    "dlg_lenet": Row(image_spec(1, 16, 12), "sigmoid1", "sigmoid3"),
    "convnet": Row(image_spec(3, 16, 12), "relu1", "relu3"),
    "mlp": Row(TABLE.spec(9), "relu1", "relu2"),
    "resnet20": Row(RGB, "layer1.0", "layer2.2"),
    "ft_transformer": Row(TABLE.spec(9), "block1", "block2"),
    "text_transformer": Row(token_spec(7, 20), "block1", "block3"),
    "text_gpt": Row(token_spec(7, 20), "block1", "block3"),
    "vgg11_bn": Row(RGB, "features.7", "features.7"),
    "vgg11_slim": Row(RGB, "features.3", "features.3"),
    "resnet18": Row(RGB, "layer2.0", "layer4.0"),
    "mobilenet_v2": Row(RGB, "features.2", "features.16"),
    "mobilenet_v3_small": Row(RGB, "features.1", "features.10"),
    "efficientnet_b0": Row(RGB, "features.1", "features.7"),
    "convnext_tiny": Row(RGB, "features.1.0", "features.7.1"),
    "vit_b_16": Row(RGB, "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_11"),
    "swin_t": Row(RGB, "features.2", "features.7.1"),
}


def test_every_registered_model_has_a_row():
    assert ROWS.keys() == MODELS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_the_halves_make_the_model_at_every_cut(name, lively):
    image = ROWS[name].input
    model = lively(name, image)
    images = random_inputs(image, 2)
    nodes = cut_nodes(model, image)
    assert len(nodes) > 5
    with torch.no_grad():
        logits = model(images)
        assert (logits[0] - logits[1]).abs().max() > 1e-3, "a model that ignores its input proves nothing"
        for cut, node in nodes:
            halves = split_at(model, cut, node, image)
            smashed = halves.head(images)
            assert smashed.shape == (2, *cut.shape), cut
            assert smashed.min() >= (cut.smashed.low if cut.smashed.low is not None else -torch.inf), cut
            assert smashed.max() <= (cut.smashed.high if cut.smashed.high is not None else torch.inf), cut
            torch.testing.assert_close(
                halves.tail(smashed), logits, rtol=1e-5, atol=1e-5, msg=lambda m, c=cut: f"{c}: {m}"
            )


def test_split_by_name_and_by_alias():
    image = image_spec(3, 64, 64)
    model = build("resnet18", image, 10)
    by_name, by_alias = split(model, "layer1.1", image), split(model, "layer1", image)
    assert by_name.cut == by_alias.cut == "layer1.1"
    assert by_name.smashed == TensorSpec((64, 16, 16), "float32", 0.0, None)
    images = torch.rand(2, *image.shape)
    torch.testing.assert_close(by_alias.tail(by_name.head(images)), model(images), rtol=1e-5, atol=1e-5)


def test_the_halves_share_the_models_parameters_and_nothing_else():
    model = build("vgg11_bn", RGB, 10)
    halves = split(model, "features.7", RGB)
    whole = dict(model.named_parameters())
    parts = dict(halves.head.named_parameters()) | dict(halves.tail.named_parameters())
    assert parts.keys() == whole.keys()
    assert all(parts[name] is whole[name] for name in whole)
    assert not {*halves.head.state_dict()} & {*halves.tail.state_dict()}


def test_everything_is_in_eval_mode_down_to_the_made_up_containers():
    model = build("vgg11_bn", RGB, 10).train()
    halves = split(model, "features.7", RGB)
    for part in (model, halves.head, halves.tail):
        assert [name for name, module in part.named_modules() if module.training] == []


class Inplace(nn.Module):
    """After its first layer: an in-place module, and an in-place function."""

    def __init__(self, function: bool) -> None:
        super().__init__()
        self.first, self.relu, self.function = nn.Linear(4, 4), nn.ReLU(inplace=True), function

    def forward(self, x):
        x = self.first(x)
        return functional.relu(x, inplace=True) + 1 if self.function else self.relu(x) + 1


@pytest.mark.parametrize("function", [False, True])
def test_the_tail_does_not_write_into_the_smashed_data(function):
    halves = split(Inplace(function), "first", TensorSpec((4,)))
    smashed = torch.full((1, 4), -1.0)
    halves.tail(smashed)
    assert smashed.tolist() == [[-1.0] * 4]


def test_a_copy_of_the_model_has_the_same_cuts_and_halves_can_be_copied():
    model = build("resnet20", RGB, 10)
    assert cuts(deepcopy(model), RGB) == cuts(model, RGB)
    halves = split(model, "layer1", RGB)
    images = torch.rand(2, *RGB.shape)
    assert torch.equal(deepcopy(halves.head)(images), halves.head(images))


def test_gradients_at_the_cut_are_those_of_the_whole_model():
    model = build("he_lenet", GRAY, 10)
    halves = split(model, "pool1", GRAY)
    images = torch.rand(3, *GRAY.shape)
    model(images).square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    sent = halves.head(images)
    arrived = sent.detach().requires_grad_()
    halves.tail(arrived).square().sum().backward()
    sent.backward(arrived.grad)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-5)


def test_parameters_used_on_both_sides_are_on_both_sides():
    class Biased(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias, self.layer = nn.Parameter(torch.ones(4)), nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x + self.bias) + self.bias

    model = Biased()
    halves = split(model, "layer", TensorSpec((4,)))
    assert halves.head.bias is halves.tail.bias is model.bias
    images = torch.rand(2, 4)
    torch.testing.assert_close(halves.tail(halves.head(images)), model(images))


@pytest.mark.parametrize("cut", ["layer1.0.conv1", "fc", "x"])
def test_branches_the_output_and_the_input_are_no_cuts(cut):
    with pytest.raises(SplitError, match="cannot be cut at"):
        split(build("resnet20", RGB, 10), cut, RGB)


def test_grafted_halves_are_joined_with_both_grafts():
    halves = split(build("he_lenet", GRAY, 10), "ReLU1", GRAY)
    to_head, to_tail = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
    grafted = graft(halves, "bottleneck", to_head=to_head, to_tail=to_tail)
    images = torch.rand(2, *GRAY.shape)
    assert torch.equal(join(grafted)(images), grafted.tail(grafted.head(images)))
    assert torch.equal(join(halves)(images), halves.tail(halves.head(images)))
