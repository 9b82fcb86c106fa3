from copy import deepcopy

import pytest
import torch
from torch import nn

from cutlayer.defenses.surgery.budget import LEAST, macs, within_budget
from cutlayer.defenses.surgery.pruning import Mask, removable, remove
from cutlayer.errors import ConfigError
from cutlayer.models.cuts import cut_nodes
from cutlayer.models.halves import split_at
from cutlayer.spec import TensorSpec, image_spec

IMAGE, DIGIT = image_spec(3, 32, 32), image_spec(1, 28, 28)


def names(model, groups):
    known = {module: name for name, module in model.named_modules()}
    return [known[channels.source] for channels in groups]


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("name", "image"),
    [("he_lenet", DIGIT), ("he_cifar10cnn", IMAGE), ("vgg11_bn", IMAGE), ("resnet20", IMAGE), ("mobilenet_v2", IMAGE)],
)
def test_removing_channels_of_mask_zero_changes_nothing_and_the_other_masks_are_folded_in(name, image, lively):
    model = deepcopy(lively(name, image))
    images = torch.rand(3, *image.shape)
    draws, groups, factors, hooks = generator(), removable(model, model), [], []
    assert groups
    for channels in groups:
        mask = Mask(channels.count)
        strength = 0.5 + torch.rand(channels.count, generator=draws)
        strength[torch.rand(channels.count, generator=draws) < 0.4] = 0
        mask.factors.data = strength / Mask.GAIN
        factors.append(strength)
        hooks.append(mask.attach(channels))
    with torch.no_grad():
        plain = model(images)
        for hook in hooks:
            hook.remove()
        assert not torch.allclose(model(images), plain, rtol=1e-2)
        before = sum(p.numel() for p in model.parameters())
        for channels, strength in zip(groups, factors, strict=True):
            remove(channels, strength.nonzero()[:, 0], strength)
            assert channels.count == (strength > 0).sum()
        torch.testing.assert_close(model(images), plain, rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in model.parameters()) < 0.9 * before


def test_only_the_inner_channels_of_residual_blocks_can_go(lively):
    model = lively("resnet20", IMAGE)
    blocks = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert names(model, removable(model, model)) == blocks
    model = lively("mobilenet_v2", IMAGE)
    removed = names(model, removable(model, model))
    assert "features.0.0" in removed  # nothing is added to the first block's input
    assert [f"features.{n}.conv.0.0" for n in range(2, 18)] == [name for name in removed if name.endswith("conv.0.0")]


def test_only_channels_of_the_head_can_go_and_those_that_are_sent_are_among_them(lively):
    model = lively("he_cifar10cnn", IMAGE)
    cut, node = next((c, n) for c, n in cut_nodes(model, IMAGE) if c.name == "conv21")
    halves = split_at(model, cut, node, IMAGE)
    assert names(model, removable(model, halves.head)) == ["conv11", "conv12", "conv21"]


class Unusual(nn.Module):
    """Channels that must not be cut off, for three reasons: read by their place, read twice, read by a sum."""

    def __init__(self):
        super().__init__()
        self.by_place, self.width = nn.Conv2d(3, 4, 1), nn.Linear(8, 8)
        self.twice, self.shared = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 1)
        self.summed = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        x = self.width(self.by_place(x))
        x = self.shared(self.shared(self.twice(x)))
        return (self.summed(x) + x).flatten(1)


def test_channels_whose_readers_cannot_be_cut_are_left_alone():
    model = torch.fx.symbolic_trace(Unusual())
    model(torch.rand(1, 3, 8, 8))
    assert removable(model, model) == []


@pytest.mark.parametrize("name", ["vgg11_bn", "resnet20", "mobilenet_v2"])
def test_the_cost_of_a_head_is_that_of_its_cut(name, lively):
    model = lively(name, IMAGE)
    for cut, node in cut_nodes(model, IMAGE)[::5]:
        assert sum(macs(split_at(model, cut, node, IMAGE).head, IMAGE).values()) == cut.macs


@pytest.mark.parametrize("name", ["he_lenet", "vgg11_bn", "resnet20", "mobilenet_v2"])
def test_the_weakest_channels_go_until_the_head_meets_its_budget(name, lively):
    image = DIGIT if name == "he_lenet" else IMAGE
    model = deepcopy(lively(name, image))
    groups, costs = removable(model, model), macs(model, image)
    draws, budget = generator(), 0.6 * sum(costs.values())
    strengths = [torch.rand(channels.count, generator=draws) for channels in groups]
    keep = within_budget(groups, strengths, costs, budget)
    gone = [s[[c for c in range(len(s)) if c not in k]] for s, k in zip(strengths, keep, strict=True)]
    weakest = [float(s[k].min()) for s, k in zip(strengths, keep, strict=True) if len(k) > LEAST * len(s) + 1]
    assert max(float(g.max()) for g in gone if len(g)) < min(weakest)
    for channels, stay in zip(groups, keep, strict=True):
        assert len(stay) >= LEAST * channels.count
        remove(channels, stay, torch.ones(channels.count))
    assert 0.5 < sum(macs(model, image).values()) / sum(costs.values()) <= 0.6
    assert model(torch.rand(1, *image.shape)).shape == (1, 10)


def test_a_mask_below_zero_counts_by_its_size(lively):
    model = lively("he_lenet", DIGIT)
    groups, costs = removable(model, model)[:1], macs(model, DIGIT)
    strength = torch.tensor([-0.9, 0.8, 0.7, 0.6, 0.1, 0.5, 0.4, 0.3])
    (keep,) = within_budget(groups, [strength], costs, sum(costs.values()) - 1)
    assert keep.tolist() == [0, 1, 2, 3, 5, 6, 7]


def test_among_equals_every_group_loses_the_same_part(lively):
    model = lively("vgg11_bn", IMAGE)
    groups, costs = removable(model, model), macs(model, IMAGE)
    keep = within_budget(groups, [torch.ones(channels.count) for channels in groups], costs, sum(costs.values()) / 4)
    shares = [len(stay) / channels.count for channels, stay in zip(groups, keep, strict=True)]
    assert 0.45 < min(shares) <= max(shares) < 0.55


def test_a_budget_that_no_pruning_meets_is_refused(lively):
    model = lively("resnet20", IMAGE)
    groups, costs = removable(model, model), macs(model, IMAGE)
    with pytest.raises(ConfigError, match="Pruned as far as allowed"):
        within_budget(groups, [torch.ones(channels.count) for channels in groups], costs, 1000)


def test_removal_leaves_new_parameters_and_no_trace_of_the_old(lively):
    model = deepcopy(lively("mobilenet_v2", IMAGE))
    channels = removable(model, model)[-1]
    old = {p for layer in (channels.source, *channels.carriers, *channels.consumers) for p in layer.parameters()}
    biases = {p for reader in channels.consumers for p in [reader.bias] if p is not None}
    remove(channels, torch.arange(5), torch.ones(channels.count))
    assert not (old - biases) & set(model.parameters())
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert TensorSpec((5,)).shape == channels.source.weight.shape[:1] == channels.carriers[0].running_var.shape
