"""What every defense of the gradient promises, and that each changes the bytes as its formula says."""

from dataclasses import is_dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from cutlayer.defenses.gradients.base import GradientDefense, norms
from cutlayer.defenses.gradients.iso import Iso
from cutlayer.defenses.gradients.marvell import Marvell, balanced, sum_kl
from cutlayer.defenses.gradients.max_norm import MaxNorm
from cutlayer.defenses.gradients.perpendicular import Perpendicular
from cutlayer.errors import ConfigError
from cutlayer.registry import GRADIENT_DEFENSES


class Row(NamedTuple):
    """One defense with its options."""

    name: str
    options: dict[str, Any]

    def make(self, **other: Any) -> GradientDefense:
        return GRADIENT_DEFENSES.make(self.name, **{**self.options, **other})


ROWS = [
    Row("iso", {}),
    Row("iso", {"ratio": 0.1}),
    Row("max-norm", {}),
    Row("max-norm", {"ratio": 0.5}),
    Row("marvell", {}),
    Row("marvell", {"power": 0.1}),
    Row("perpendicular", {}),
    Row("perpendicular", {"most": 1.0}),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row.make()))


def batch(n: int = 64, seed: int = 0, shape: tuple[int, ...] = (4, 2, 2)) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of two classes, the rare one long and in the opposite direction."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.2).astype(np.int64)
    labels[:2] = 0, 1
    rows = rng.standard_normal((n, *shape)) * 0.02 + np.where(labels, 0.9, -0.1).reshape(-1, *[1] * len(shape))
    return rows.astype(np.float32) / n, labels


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_registered_defense_has_a_row():
    assert {row.name for row in ROWS} | {"none"} == {*GRADIENT_DEFENSES}
    for name in GRADIENT_DEFENSES:
        kind = GRADIENT_DEFENSES.load(name)
        assert is_dataclass(kind)
        assert kind.plain_words


@each
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_the_bytes_change_and_shape_and_kind_stay(row, kind):
    gradient, labels = batch()
    given = kind(gradient.copy())
    protected = row.make().protect_cut_gradient(given, kind(labels), rng())
    assert type(protected) is type(given)
    assert protected.dtype == given.dtype
    assert tuple(protected.shape) == gradient.shape
    assert np.isfinite(np.asarray(protected)).all()
    assert np.array_equal(np.asarray(given), gradient), "the gradient was changed in place"
    changed = (np.asarray(protected) != gradient).reshape(len(gradient), -1).any(1)
    assert changed.sum() >= len(gradient) - 1  # the longest gradient may stay


@each
def test_at_strength_zero_the_gradient_is_returned_itself(row):
    gradient, labels = batch()
    for off in (row.make(**{row.make().knob: 0.0}), GRADIENT_DEFENSES.make("none")):
        assert off.protect_cut_gradient(gradient, labels, rng()) is gradient


@each
def test_all_randomness_comes_from_the_generator(row):
    gradient, labels = (torch.from_numpy(array) for array in batch())
    state = torch.random.get_rng_state()
    first, again, other = (row.make().protect_cut_gradient(gradient, labels, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


@each
@pytest.mark.parametrize("n", [0, 1, 2])
def test_small_batches_and_gradients_of_zero_stay_finite(row, n):
    gradient, labels = batch(max(n, 2))
    for given in (gradient[:n], np.zeros_like(gradient[:n])):
        assert np.isfinite(row.make().protect_cut_gradient(given, labels[:n], rng())).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("iso", {"ratio": -1.0}, "must be"),
        ("max-norm", {"ratio": -1.0}, "must be"),
        ("marvell", {"power": -1.0}, "must be"),
        ("perpendicular", {"most": 0.5}, "most must be 1 or more"),
        ("max_norm", {}, "did you mean max-norm"),
    ],
)
def test_an_impossible_option_is_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        GRADIENT_DEFENSES.make(name, **options)


# A11


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_noise_of_max_norm_is_parallel_to_each_gradient_and_noise_of_iso_is_not(kind):
    gradient, labels = batch()

    def cosines(defense: GradientDefense) -> np.ndarray:
        protected = np.asarray(defense.protect_cut_gradient(kind(gradient), kind(labels), rng()), np.float64)
        noise, rows = (protected - gradient).reshape(64, -1), gradient.reshape(64, -1).astype(np.float64)
        moved = np.linalg.norm(noise, axis=1) > 0
        assert moved.sum() >= 63
        product = (noise * rows).sum(1)[moved]
        return abs(product / np.linalg.norm(noise, axis=1)[moved] / np.linalg.norm(rows, axis=1)[moved])

    # What float32 allows where the noise is much shorter than the gradient.
    np.testing.assert_allclose(cosines(MaxNorm()), 1, atol=1e-4)
    assert np.median(cosines(MaxNorm())) > 1 - 1e-9
    assert (cosines(Iso()) < 0.9).all()


def test_max_norm_takes_the_maximum_over_samples_and_equals_the_mean_squares():
    gradient, labels = batch()
    lengths = norms(gradient.reshape(64, -1))[:, 0]
    drawn = np.stack([MaxNorm().protect_cut_gradient(gradient, labels, rng(seed)) for seed in range(1000)])
    square = (drawn.astype(np.float64) ** 2).reshape(1000, 64, -1).sum(2).mean(0)
    np.testing.assert_allclose(square, lengths.max() ** 2, rtol=0.25)  # 5 deviations of a mean of 1,000 squares
    longest = lengths.argmax()
    assert np.array_equal(drawn[0, longest], gradient[longest]), "the longest gradient of the batch stays"


def test_noise_of_iso_has_the_length_of_the_longest_gradient():
    gradient, labels = batch()
    longest = norms(gradient.reshape(64, -1)).max()
    drawn = np.stack([Iso(ratio=0.5).protect_cut_gradient(gradient, labels, rng(seed)) for seed in range(300)])
    noise = (drawn - gradient).reshape(300 * 64, -1).astype(np.float64)
    assert (noise**2).sum(1).mean() == pytest.approx((0.5 * longest) ** 2, rel=0.03)
    assert noise.std(0) == pytest.approx(0.5 * longest / 4, rel=0.05)


def test_perpendicular_noise_leaves_the_component_and_equals_the_lengths():
    gradient, labels = batch()
    protected = Perpendicular(most=4.0).protect_cut_gradient(gradient, labels, rng()).reshape(64, -1)
    rows = gradient.reshape(64, -1)
    np.testing.assert_allclose((protected * rows).sum(1), (rows * rows).sum(1), rtol=1e-4)
    lengths = norms(protected)[:, 0]
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-4)
    assert 1 <= lengths[0] / norms(rows).max() <= 4


# Marvell


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize(("u", "v"), [(0.01, 0.04), (0.2, 0.01), (0.03, 0.03), (0.0, 0.02)])
@pytest.mark.parametrize("power", [0.1, 4.0])
def test_no_other_noise_of_that_power_has_a_smaller_sum_of_divergences(share, u, v, power):
    d, gap = 16, 1.0
    first, second = balanced(gap, u, v, d, share, power)
    spent = share * (first.along + (d - 1) * first.across) + (1 - share) * (second.along + (d - 1) * second.across)
    assert spent == pytest.approx(power, rel=1e-6)

    def value(noise):
        a, b, e, f = np.maximum(noise, 0)
        tiny = 1e-12
        return sum_kl(gap, np.array([a + u + tiny, b + u + tiny]), np.array([e + v + tiny, f + v + tiny]), d)

    def left(noise):
        return power - share * (noise[0] + (d - 1) * noise[1]) - (1 - share) * (noise[2] + (d - 1) * noise[3])

    ours = value([*first, *second])
    assert ours < value([power / d] * 4)
    for start in ([*first, *second], [power / d] * 4, [power / 2, 0, power / 2, 0]):
        found = minimize(value, start, bounds=[(0, None)] * 4, constraints={"type": "ineq", "fun": left})
        if left(found.x) >= -1e-9:
            assert ours <= found.fun * (1 + 1e-3) + 1e-6


def test_noise_of_marvell_has_the_variances_that_were_chosen():
    gradient, labels = batch(256)
    rows = gradient.reshape(256, -1)
    gap = rows[labels == 1].mean(0) - rows[labels == 0].mean(0)
    axis = gap / np.linalg.norm(gap)
    u, v = (rows[labels == label].var(0).mean() for label in (1, 0))
    squared, share = float(gap @ gap), float(labels.mean())
    chosen = balanced(squared, float(u), float(v), 16, share, 2 * squared)
    drawn = np.stack([Marvell(power=2.0).protect_cut_gradient(gradient, labels, rng(seed)) for seed in range(100)])
    noise = (drawn - gradient).reshape(100, 256, 16).astype(np.float64)
    for label, (along, across) in zip((1, 0), chosen, strict=True):
        of_class = noise[:, labels == label]
        assert ((of_class @ axis) ** 2).mean() == pytest.approx(along, rel=0.1)
        rest = (of_class**2).sum(2).mean() - ((of_class @ axis) ** 2).mean()
        assert rest == pytest.approx(15 * across, rel=0.05, abs=1e-9)
    assert (noise**2).sum(2).mean() == pytest.approx(2 * squared, rel=0.1)


def test_marvell_leaves_a_batch_of_one_class_and_refuses_a_third_class():
    gradient, labels = batch()
    assert np.array_equal(Marvell().protect_cut_gradient(gradient, labels * 0, rng()), gradient)
    with pytest.raises(ConfigError, match="which of two classes"):
        Marvell().protect_cut_gradient(gradient, labels * 2, rng())
