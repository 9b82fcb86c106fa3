"""Dropout, top-k and quantization: what each does to the data, exactly."""

import math

import numpy as np
import pytest
import torch

from cutlayer.defenses.dropout import Dropout
from cutlayer.defenses.quantize import Quantize
from cutlayer.defenses.top_k import TopK
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.codecs.top_k import TopK as TopKCodec
from tests.defenses.victims import accuracy, rng, shades, small_split


def normal(*shape: int) -> np.ndarray:
    return rng(1).standard_normal(shape).astype(np.float32)


def test_dropout_withholds_the_stated_share_anew_each_time_and_rescales_nothing():
    n, generator, defense = 200_000, rng(), Dropout(rate=0.3)
    first, second = (defense.protect(np.full((1, n), 7, np.float32), generator) for _ in range(2))
    assert set(np.unique(first)) == {0, 7}
    for share, expected in (((first == 0).mean(), 0.3), (((first == 0) & (second == 0)).mean(), 0.09)):
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def test_dropout_of_everything_leaves_nothing_and_is_not_random():
    defense = Dropout(rate=1.0)
    assert not defense.random
    assert not defense.protect(normal(2, 3), rng()).any()


def test_dropout_hides_infinities_too():
    assert np.isfinite(Dropout(rate=1.0).protect(np.full((1, 4), np.inf, np.float32), rng())).all()


def test_top_k_keeps_the_greatest_by_magnitude_and_of_equals_the_first():
    smashed = np.array([[[-9, 1], [2, 8]], [[1, 1], [1, 1]]], np.float32)
    expected = np.array([[[-9, 0], [0, 8]], [[1, 1], [0, 0]]], np.float32)
    for array in (smashed, torch.from_numpy(smashed)):
        assert np.array_equal(np.asarray(TopK(sparsity=0.5).protect(array, rng())), expected)


@pytest.mark.parametrize("sparsity", [0.5, 0.75, 0.9375])
def test_top_k_is_of_each_sample_and_agrees_with_the_codec(sparsity):
    smashed = normal(5, 4, 8, 8)
    smashed[3] *= 100
    released = TopK(sparsity=sparsity).protect(smashed, rng())
    assert ((released != 0).reshape(5, -1).sum(axis=1) == round((1 - sparsity) * 256)).all()
    assert np.array_equal(released, decode(TopKCodec(keep=1 - sparsity).encode(smashed)))
    assert np.array_equal(
        released, np.concatenate([TopK(sparsity=sparsity).protect(sample[None], rng()) for sample in smashed])
    )


def test_top_k_does_not_lose_an_element_to_rounding():
    assert (TopK(sparsity=0.57).protect(normal(1, 100), rng()) == 0).sum() == 57


def test_gradients_of_masks_pass_where_data_passes():
    smashed = torch.from_numpy(normal(2, 10)).requires_grad_()
    for defense in (TopK(sparsity=0.7), Dropout(rate=0.7)):
        released = defense.protect(smashed, rng())
        (gradient,) = torch.autograd.grad(released.sum(), smashed)
        assert torch.equal(gradient, (released != 0).float())


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_quantize_rounds_each_sample_to_few_levels_half_a_step_away_at_most(bits):
    smashed = normal(4, 3, 50)
    smashed[2] *= 1000
    rounded = Quantize(bits=bits).protect(smashed, rng())
    for before, after in zip(smashed, rounded, strict=True):
        step = (before.max() - before.min()) / (2**bits - 1)
        assert len(np.unique(after)) <= 2**bits
        assert np.abs(after - before).max() <= step / 2 * 1.001
        assert after.min() == before.min()
        assert after.max() == pytest.approx(before.max(), rel=1e-5)


def test_quantize_leaves_a_sample_of_equals_alone():
    assert (Quantize(bits=1).protect(np.full((2, 3, 3), 5, np.float32), rng()) == 5).all()
    assert (Quantize(bits=1, rounding="stochastic").protect(np.full((2, 3, 3), 5, np.float32), rng()) == 5).all()


def test_stochastic_rounding_is_right_on_average_and_stays_within_the_extremes():
    smashed, generator, defense = normal(1, 20), rng(), Quantize(bits=1, rounding="stochastic")
    releases = np.concatenate([defense.protect(smashed, generator) for _ in range(4000)])
    step = smashed.max() - smashed.min()
    assert len(np.unique(releases)) == 2
    assert np.abs(releases.mean(axis=0) - smashed).max() < 4 * step / 2 / math.sqrt(4000)


def test_gradients_pass_straight_through_the_rounding():
    smashed = torch.from_numpy(normal(2, 10)).requires_grad_()
    released = Quantize(bits=2).protect(smashed, rng())
    (gradient,) = torch.autograd.grad(released.sum(), smashed)
    assert torch.equal(gradient, torch.ones_like(gradient))
    torch.testing.assert_close(released.detach(), Quantize(bits=2).protect(smashed.detach(), rng()))


STRENGTHS = [(Dropout, {"rate": 0.9}), (TopK, {"sparsity": 0.95}), (Quantize, {"bits": 1})]


@pytest.mark.parametrize(("kind", "strength"), STRENGTHS)
def test_the_tail_alone_is_trained_behind_it(kind, strength):
    halves, data = small_split(trained_epochs=10), shades()
    defense = kind(**strength)
    assert defense.harden(halves, data, 0) is halves
    hardened = kind(**strength, epochs=10).harden(halves, data, 0)
    assert hardened.head is halves.head
    assert accuracy(hardened, defense.protect, data) >= max(0.8, accuracy(halves, defense.protect, data))
