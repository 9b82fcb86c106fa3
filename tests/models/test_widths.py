from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from cutlayer.defenses.surgery.pruning import removable, remove
from cutlayer.errors import SplitError
from cutlayer.models.halves import copied, join, split
from cutlayer.models.widths import fit, measured
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec

IMAGE = image_spec(3, 32, 32)


def fresh(name, cut, classes=10):
    return split(build(name, IMAGE, classes, seed=5), cut, IMAGE)


def pruned(name, cut, lively):
    halves = copied(split(deepcopy(lively(name, IMAGE)), cut, IMAGE))
    for channels in removable(join(halves), halves.head):
        remove(channels, torch.arange(0, channels.count, 3), torch.ones(channels.count))
    return measured(halves)


@pytest.mark.parametrize(
    ("name", "cut"),
    [("he_cifar10cnn", "ReLU32"), ("vgg11_bn", "features.7"), ("resnet20", "layer2"), ("mobilenet_v2", "features.5")],
)
def test_a_fresh_split_takes_the_weights_of_a_pruned_one(name, cut, lively):
    expected, halves = pruned(name, cut, lively), fresh(name, cut)
    weights = expected.head.state_dict(), expected.tail.state_dict()
    halves = fit(halves, *weights)
    assert halves.smashed == expected.smashed
    halves.head.load_state_dict(weights[0])
    halves.tail.load_state_dict(weights[1])
    images = torch.rand(2, *IMAGE.shape)
    assert torch.equal(halves.tail(halves.head(images)), expected.tail(expected.head(images)))
    for mine, its in zip(halves.head.modules(), expected.head.modules(), strict=True):
        if isinstance(mine, nn.Conv2d):
            assert (mine.in_channels, mine.out_channels, mine.groups) == (its.in_channels, its.out_channels, its.groups)


def test_what_fits_already_stays(lively):
    halves = fresh("resnet20", "layer1")
    assert fit(halves, halves.head.state_dict(), halves.tail.state_dict()) is halves


def test_other_classes_are_not_taken_for_pruning():
    other = fresh("resnet20", "layer1", classes=3)
    with pytest.raises(SplitError, match="3 classes instead of 10"):
        fit(fresh("resnet20", "layer1"), other.head.state_dict(), other.tail.state_dict())


def test_a_pruned_head_does_not_fit_another_tail(lively):
    cut_down, whole = pruned("he_cifar10cnn", "ReLU32", lively), fresh("he_cifar10cnn", "ReLU32")
    with pytest.raises(SplitError, match="do not fit each other"):
        fit(fresh("he_cifar10cnn", "ReLU32"), cut_down.head.state_dict(), whole.tail.state_dict())


def test_layers_of_another_kind_are_left_to_be_refused():
    halves = fresh("resnet20", "layer1")
    weights = halves.head.state_dict() | {"conv1.weight": torch.zeros(3, 3)}
    assert fit(halves, weights, halves.tail.state_dict()) is halves


def test_the_smashed_data_are_measured_anew_and_keep_their_bounds():
    halves = fresh("resnet20", "layer1")
    assert measured(replace(halves, smashed=replace(halves.smashed, shape=(1,)))) == halves
