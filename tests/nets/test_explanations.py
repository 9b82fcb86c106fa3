"""Maps that explain an answer, against models whose answers rest on a place that is known."""

import pytest
import torch
from torch import nn

from cutlayer.errors import ConfigError
from cutlayer.nets.explanations import EXPLANATIONS, grad_cam, saliency


def test_saliency_is_the_weight_of_a_linear_model_for_the_class_that_is_answered():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([torch.arange(12.0), -torch.arange(12.0)]))
    maps = saliency(model, torch.ones(2, 3, 2, 2))
    assert maps.shape == (2, 1, 2, 2)
    expected = torch.arange(12.0).view(3, 2, 2).sum(0) / (3 + 7 + 11)
    torch.testing.assert_close(maps[0, 0], expected)


class Bright(nn.Module):
    """Class 1 is as likely as the image is bright, by one convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x):
        bright = self.conv(x).relu().mean((1, 2, 3))
        return torch.stack([torch.zeros_like(bright), bright], 1)


def test_grad_cam_is_bright_where_the_last_convolution_sees_the_class():
    image = torch.zeros(1, 1, 16, 16)
    image[..., :5, :5] = 1
    maps = grad_cam(Bright(), image)
    assert maps.shape == image.shape
    assert maps[..., :5, :5].mean() > 0.5
    assert maps[..., 9:, 9:].max() == 0


@pytest.mark.parametrize("name", EXPLANATIONS)
def test_maps_lie_in_0_to_1_and_leave_the_model_as_it_was(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    with torch.no_grad():
        maps = EXPLANATIONS[name](model, torch.rand(5, 1, 8, 8))
    assert maps.shape == (5, 1, 8, 8)
    assert not maps.requires_grad
    assert 0 <= maps.min() <= maps.max() <= 1.0001
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model[0]._forward_hooks
    constant = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(64, 2))
    for parameter in constant.parameters():
        nn.init.zeros_(parameter)
    assert (EXPLANATIONS[name](constant, torch.rand(2, 1, 8, 8)) == 0).all()


def test_grad_cam_without_a_convolution_is_refused():
    with pytest.raises(ConfigError, match="no"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(1, 1, 2, 2))
