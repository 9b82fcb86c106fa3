"""Overlapping windows of one piece of sound."""

import pytest
import torch
from torch import nn

from cutlayer.attacks.answers.sliding_inversion import SlidingInversion
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.spec import image_spec

INPUT = image_spec(1, 6, 8)


class Rows(nn.Module):
    """Takes a sound for the class whose row is loudest, at any time."""

    def forward(self, images):
        return 10 * images[:, 0].mean(2)


def view():
    auxiliary = Dataset(torch.rand(8, *INPUT.shape).numpy(), torch.zeros(8, dtype=torch.int64).numpy())
    return ClassView(
        input=INPUT, classes=6, targets=(1, 4), auxiliary=auxiliary, reply=Reply.WEIGHTS, seed=0, _models=(Rows(),)
    )


@pytest.mark.parametrize(("overlap", "shared"), [(0.5, 4), (0.75, 6), (0.0, 0)])
def test_what_two_windows_share_is_one_sound(overlap, shared):
    shown = SlidingInversion(steps=10, overlap=overlap, lr=0.01).represent(view(), 4)
    assert shown.shape == (2, 4, *INPUT.shape)
    for before, after in zip(shown[:, :-1].unbind(1), shown[:, 1:].unbind(1), strict=True):
        assert torch.equal(before[..., 8 - shared :], after[..., :shared])
        assert not torch.equal(before, after)


def test_each_window_of_the_strip_is_taken_for_the_class():
    shown = SlidingInversion(steps=60, lr=0.05).represent(view(), 3)
    said = Rows()(shown.flatten(0, 1)).argmax(1).view(2, 3)
    assert said.tolist() == [[1, 1, 1], [4, 4, 4]]


def test_a_prior_without_pixels_is_refused():
    with pytest.raises(ConfigError, match=r"A window goes on from the pixels of another one; .*mean-image"):
        SlidingInversion(prior="wgan")
