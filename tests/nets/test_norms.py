"""Statistics of batch normalization, against numbers by hand."""

import pytest
import torch
from torch import nn

from cutlayer.nets.norms import Norms


@pytest.fixture
def model():
    norm = nn.BatchNorm2d(1)
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    return nn.Sequential(norm, nn.BatchNorm2d(1), nn.BatchNorm2d(1, track_running_stats=False)).eval()


def test_the_gap_by_hand(model):
    model[1].running_mean.fill_(-0.5)
    x = torch.tensor([0.0, 2.0, 0.0, 2.0]).view(2, 1, 1, 2)  # mean 1, variance 1; then mean 0, variance 1/4
    with Norms(model) as norms:
        model(x)
        assert norms.gap().item() == pytest.approx(3 + 0.5 + 0.75, abs=1e-4)
        model(x)
        assert norms.gap(first=10).item() == pytest.approx(30 + 0.5 + 0.75, abs=1e-4)


def test_only_layers_that_keep_statistics_count(model):
    assert Norms(model).layers == [model[0], model[1]]


def test_nothing_is_recorded_afterwards_even_after_an_error(model):
    norms = Norms(model)
    with pytest.raises(ZeroDivisionError), norms:
        1 / 0  # noqa: B018
    model(torch.zeros(2, 1, 1, 1))
    assert not any(layer._forward_pre_hooks for layer in model)
    with norms:
        model(torch.ones(2, 1, 1, 1))
        norms.gap().item()
    assert not any(layer._forward_pre_hooks for layer in model)
