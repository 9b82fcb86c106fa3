"""DeepInversion: what its search reaches, and which victims it refuses."""

from functools import partial

import pytest
import torch
from torch import nn

from cutlayer.attacks.answers.deep_inversion import DeepInversion, variation
from cutlayer.errors import ConfigError
from cutlayer.nets.norms import Norms
from cutlayer.spec import image_spec
from tests.attacks.answers.bars import brighter_above, knowing, view


@pytest.fixture(scope="module")
def victim():
    return knowing()


def test_pictures_have_the_statistics_of_the_training_data_and_show_the_class(victim):
    attack = partial(DeepInversion, batch=16, jitter=0)
    shown = attack(steps=80).represent(view(victim), 8)
    with Norms(victim) as norms:
        victim(attack(steps=1).represent(view(victim), 8).flatten(0, 1))
        start = norms.gap()
        victim(shown.flatten(0, 1))
        assert norms.gap() < start / 5
    halves = brighter_above(shown)
    assert halves[0].mean() > 0.05
    assert halves[1].mean() < -0.05


def test_the_surest_of_a_batch_are_shown(victim):
    def loss(k):
        shown = DeepInversion(steps=10, batch=16).represent(view(victim), k)
        with torch.no_grad():
            return nn.functional.cross_entropy(victim(shown[0]), torch.zeros(k, dtype=torch.long)).item()

    assert loss(1) < loss(8)


def test_nothing_stays_on_the_network(victim):
    DeepInversion(steps=1, batch=4).represent(view(victim), 2)
    assert not any(module._forward_pre_hooks for module in victim.modules())


def test_a_victim_without_batch_normalization_is_refused():
    with pytest.raises(ConfigError, match=r"no batch normalization.* take a model with some, such as resnet20"):
        DeepInversion().represent(view(nn.Sequential(nn.Flatten(), nn.Linear(64, 2))), 1)


def test_a_table_is_refused(victim):
    spec = image_spec(1, 8, 8)
    rows = type(spec)((64,), spec.dtype, spec.low, spec.high)
    with pytest.raises(ConfigError, match=r"makes images \(C, H, W\)"):
        DeepInversion().represent(view(victim, rows), 1)


def test_variation_by_hand():
    x = torch.tensor([[0.0, 3.0], [4.0, 0.0]])[None, None]
    assert variation(x).item() == pytest.approx(5 + 5 + 0 + 1)
