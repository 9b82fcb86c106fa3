import torch
from torch import nn

from cutlayer.models.group_norm import without_batch_norm
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec


def test_batch_normalization_is_replaced_in_a_traced_model():
    model = build("vgg11_slim", image_spec(3, 32, 32), 10)
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert without_batch_norm(model) == len(names) == 8
    assert all(isinstance(model.get_submodule(name), nn.GroupNorm) for name in names)
    assert [model.get_submodule(name).num_groups for name in names] == [1, 2, 4, 4, 8, 8, 8, 8]
    assert not any("running" in name for name in model.state_dict())
    assert without_batch_norm(model) == 0


def test_a_sample_no_longer_depends_on_its_batch():
    model = build("lenet_bn", image_spec(1, 12, 12), 10)
    without_batch_norm(model)
    model.train()
    images = torch.rand(5, 1, 12, 12)
    torch.testing.assert_close(model(images)[:2], model(images[:2]))


def test_odd_numbers_of_channels_and_rows_are_taken():
    model = nn.Sequential(nn.Linear(3, 40), nn.BatchNorm1d(40), nn.Linear(40, 7), nn.BatchNorm1d(7, affine=False))
    assert without_batch_norm(model) == 2
    assert model[1].num_groups == 2
    assert not model[3].affine
    assert model(torch.rand(4, 3)).shape == (4, 7)
