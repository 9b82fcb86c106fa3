"""What ridge reads from one client's message, where what the clients send is mixed before the server sees it (A22)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.client import gradients
from cutlayer.attacks.gradients.ridge import Dual
from cutlayer.data.load import open_data
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.defenses.updates.ffl_swap import FFLSwap
from cutlayer.defenses.updates.fragments import Fragments
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.defenses.updates.secure_aggregation import SecureAggregation

N, TESTED = 160, 40


@pytest.fixture(scope="module")
def made() -> tuple[torch.Tensor, list[dict[str, torch.Tensor]], list[dict[str, torch.Tensor]]]:
    """Digits, the gradient of each alone, and those of as many others, which are the other clients'."""
    data = open_data("digits", None, 0).train
    inputs, labels = torch.from_numpy(data.inputs[: 2 * N]), torch.from_numpy(data.labels[: 2 * N])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), 24), nn.Sigmoid(), nn.Linear(24, 10))
    found = [gradients(model, inputs[k : k + 1], labels[k : k + 1]) for k in range(2 * N)]
    return inputs[:N], found[:N], found[N:]


def psnr(defense: UpdateDefense, made) -> tuple[float, float]:
    """PSNR in dB of an attacker that has learned from such messages, and of the mean of its samples."""
    inputs, own, others = made
    rng, rows = np.random.default_rng(0), list[torch.Tensor]()
    for one, other in zip(own, others, strict=True):
        sent = defense.share({1: one, 2: other}, rng)[1]
        rows.append(torch.cat([torch.as_tensor(value).float().flatten() for value in sent.values()]))
    images, messages = inputs.flatten(1), torch.stack(rows)
    learned, tested = slice(N - TESTED), slice(N - TESTED, N)
    ridge = Dual([messages[learned]], images[learned], n_fit=(N - TESTED) * 9 // 10)
    found = ridge([messages[tested]]).clamp(0, 1), images[learned].mean(0)
    return tuple(float(-10 * (f - images[tested]).square().mean(1).log10().mean()) for f in found)


@pytest.mark.parametrize("defense", [SecureAggregation(), Fragments()], ids=repr)
def test_a22_from_one_masked_message_ridge_learns_the_mean_image(defense, made):
    ridge, mean = psnr(defense, made)
    assert ridge == pytest.approx(mean, abs=0.3)


def test_it_reads_a_message_that_is_not_masked_and_one_of_which_31_of_100_coordinates_were_exchanged(made):
    """The exchange costs the attacker something and leaves far more than the mean image."""
    ridge, mean = psnr(Unprotected(), made)
    swapped, _ = psnr(FFLSwap(), made)
    assert ridge > mean + 3
    assert mean + 0.5 < swapped < ridge
