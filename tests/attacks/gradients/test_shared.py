"""What ridge reads from one client's message, where what the clients send is mixed before the server sees it (A22)."""

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.client import mixed, observed
from cutlayer.attacks.gradients.ridge import GradientRidge
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.load import open_data
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.defenses.updates.ffl_swap import FFLSwap
from cutlayer.defenses.updates.fragments import Fragments
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.defenses.updates.secure_aggregation import SecureAggregation

CLIENTS, N = 2, 40


def psnr(defense: UpdateDefense, knows: bool = True) -> tuple[float, float]:
    """PSNR in dB of ridge on single messages, each of one digit, and of the mean of the attacker's digits."""
    splits = open_data("digits", None, 0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(splits.input.size, 24), nn.Sigmoid(), nn.Linear(24, 10))
    own, private, rng = splits.train.take(240), splits.test.take(N), np.random.default_rng(0)
    inputs, labels = torch.from_numpy(private.inputs), torch.from_numpy(private.labels)
    made = [observed(model, inputs[k : k + 1], labels[k : k + 1], defense, rng) for k in range(N)]
    if defense.mixes:
        made = [m for k in range(0, N, CLIENTS) for m in mixed(made[k : k + CLIENTS], defense, rng)]
    view = UpdateView(
        input=splits.input, classes=10, auxiliary=own, among=CLIENTS if defense.mixes else 1,
        _defense=defense if knows else None,
    )  # fmt: skip
    found = GradientRidge(n=240).invert(view, [m.observation for m in made])
    rebuilt, mean = torch.cat([f.inputs for f in found]), torch.from_numpy(own.inputs).mean(0)
    return tuple(float(-10 * (f - inputs).square().flatten(1).mean(1).log10().mean()) for f in (rebuilt, mean))


@pytest.mark.parametrize("defense", [SecureAggregation(), Fragments()], ids=repr)
def test_a22_from_one_masked_message_ridge_learns_the_mean_image(defense):
    ridge, mean = psnr(defense)
    assert ridge == pytest.approx(mean, abs=0.3)


def test_it_reads_a_message_that_is_not_masked_and_one_of_which_31_of_100_coordinates_were_exchanged():
    """The exchange costs the attacker something and leaves far more than the mean image."""
    ridge, mean = psnr(Unprotected())
    swapped, _ = psnr(FFLSwap())
    assert ridge > mean + 3
    assert mean + 0.5 < swapped < ridge
    unaware, _ = psnr(FFLSwap(), knows=False)
    assert unaware < swapped
