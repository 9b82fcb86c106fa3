"""The ceiling, against answers that are known, and against attackers that try to exceed it."""

from math import isnan, log, nan, sqrt
from statistics import NormalDist

import numpy as np
import pytest
import torch

from cutlayer.attacks.view import Access
from cutlayer.data.modality import Column, table
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.base import Defense
from cutlayer.defenses.dropout import Dropout
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.quantize import Quantize
from cutlayer.defenses.shared.density import Density
from cutlayer.metrics.columns import right_columns
from cutlayer.metrics.tokens import right_share
from cutlayer.privacy.ceiling import RELEASES, _Attacker, ceiling, ceiling_of
from cutlayer.privacy.view import oracle, view, wire
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.run import Ceiling
from cutlayer.registry import ATTACKS
from cutlayer.sequences import lengths
from tests.defenses.sentences import sentences, trained

N = 60
INPUTS = np.random.default_rng(0).random((N, 1, 4, 4), np.float32)
MEANS = np.random.default_rng(1).normal(size=(N, 5)).astype(np.float32)
FLOOR = INPUTS.mean(axis=0)


def gaussian(sigma, means=MEANS):
    return Density("gaussian", means, sigma)


def bracketed(estimate, known, slack=3.5):
    """Whether a share is within so many standard errors of the known one."""
    error = sqrt(max(known * (1 - known), 1 / estimate.n) / estimate.n)
    return abs(estimate.value - known) < slack * error


def two(family, scale, distance=1.0, dimensions=1):
    """Two candidates that differ in the first of some numbers."""
    means = np.zeros((2, dimensions), np.float32)
    means[1, 0] = distance
    pictures = np.array([0.0, 1.0], np.float32).reshape(2, 1, 1, 1)
    return ceiling_of(Density(family, means, scale), pictures, np.full((1, 1, 1), 0.5, np.float32), 2, seed=3)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("dimensions", [1, 7])
def test_two_candidates_behind_gaussian_noise_are_told_apart_as_the_textbook_says(sigma, dimensions):
    """The error is Q(d / (2 sigma)), with sigma / sqrt(k) after k releases, whatever else is sent."""
    for at in two("gaussian", sigma, dimensions=dimensions).at:
        assert bracketed(at.identified, NormalDist().cdf(sqrt(at.n_releases) / (2 * sigma)))


def test_two_candidates_behind_laplace_noise():
    """From one release the nearer of the two is chosen: the error is exp(-d / (2 b)) / 2."""
    for scale in (0.3, 1.0):
        assert bracketed(two("laplace", scale).at[0].identified, 1 - np.exp(-1 / (2 * scale)) / 2)


def test_several_releases_behind_laplace_noise_are_more_than_their_mean():
    """Their likelihoods are multiplied. The sign of the mean, a weaker rule, is simulated beside it."""
    noise = np.random.default_rng(0).laplace(0, 1, (200_000, 4))
    weaker = float((noise.mean(axis=1) < 0.5).mean())
    releases = np.stack([np.abs(noise - at).sum(axis=1) for at in (0, 1)])
    best = float((releases[0] < releases[1]).mean())
    found = two("laplace", 1.0).over(4).identified
    assert best > weaker + 0.005
    assert bracketed(found, best)


def test_equidistant_candidates():
    """One of N orthogonal signals: the rate is that of an integral, here by simulation of the maximum alone."""
    n, sigma = 30, 0.5
    rng = np.random.default_rng(0)
    true, others = rng.normal(1 / sigma, 1, 100_000), rng.normal(size=(100_000, n - 1)).max(axis=1)
    found = ceiling_of(gaussian(sigma, np.eye(n, dtype=np.float32)), INPUTS[:n], FLOOR, n, seed=0)
    assert bracketed(found.at[0].identified, float((true > others).mean()))


def test_a_scale_of_each_input_is_information_too():
    """Two candidates with one mean, and deviations 1 and 3: the likelihood ratio decides where |x| is small."""
    densities = Density("gaussian", np.zeros((2, 1), np.float32), np.array([[1.0], [3.0]]))
    border = sqrt(log(3) * 2 / (1 - 1 / 9))
    inside = [2 * NormalDist(0, s).cdf(border) - 1 for s in (1, 3)]
    found = ceiling_of(densities, INPUTS[:2], FLOOR, 2, seed=0)
    assert bracketed(found.at[0].identified, (inside[0] + 1 - inside[1]) / 2)
    assert found.at[-1].identified.value > 0.99


def test_the_posterior_mean_has_the_least_error_of_all_reconstructions():
    """No rule of a list of strong ones, each of which knows the candidates, comes closer on the same releases."""
    sigma, seed, draws = 0.8, 0, 100
    found = ceiling_of(gaussian(sigma), INPUTS, FLOOR, N, seed)
    noise = np.random.default_rng(5).normal(0, sigma, (draws, N, 5))
    releases = (MEANS + noise).reshape(-1, 5)
    truth, pool = np.tile(INPUTS.reshape(N, -1), (draws, 1)), INPUTS.reshape(N, -1)
    distances = np.square(releases[:, None] - MEANS).sum(axis=2)

    def gain(rebuilt):
        return 1 - np.square(rebuilt - truth).mean() / np.square(pool.mean(axis=0) - truth).mean()

    def weighted(temperature):
        weights = np.exp(-(distances - distances.min(axis=1, keepdims=True)) / (2 * sigma**2 * temperature))
        return weights / weights.sum(axis=1, keepdims=True) @ pool

    design = np.concatenate([releases, np.ones((len(releases), 1))], axis=1)
    ridge = design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    rivals = {
        "nearest": pool[distances.argmin(axis=1)],
        "best linear map, fitted to the truth": ridge,
        **{f"weights at temperature {t}": weighted(t) for t in (0.25, 0.5, 2, 4)},
        "half way to the mean": (weighted(1) + pool.mean(axis=0)) / 2,
    }
    best = found.at[0].leakage_gain
    assert best.value == pytest.approx(gain(weighted(1)), abs=0.02)
    for name, rebuilt in rivals.items():
        assert gain(rebuilt) < best.value, name
        assert gain(rebuilt) < gain(weighted(1)), name


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
def test_without_noise_everything_leaks_and_behind_infinite_noise_nothing(family):
    weak = ceiling_of(Density(family, MEANS, 1e-6), INPUTS, FLOOR, N, 0).at[0]
    assert (weak.identified.value, weak.identified.high) == (1, 1)
    assert weak.leakage_gain.value == pytest.approx(1, abs=1e-6)
    assert [at.n_releases for at in ceiling_of(Density(family, MEANS, 1e-6), INPUTS, FLOOR, N, 0).at] == list(RELEASES)
    strong = ceiling_of(Density(family, MEANS, 1e9), INPUTS, FLOOR, N, 0).at[0]
    assert bracketed(strong.identified, 1 / N)
    assert strong.leakage_gain.value == pytest.approx(0, abs=1e-6)


def test_a_head_that_says_nothing_leaves_a_lot_among_all():
    found = ceiling_of(gaussian(0.1, np.zeros((N, 5), np.float32)), INPUTS, FLOOR, 20, 0)
    assert found.at[-1].identified.value == pytest.approx(1 / N)
    assert found.gone_after is None
    assert found.tried > 10_000


@pytest.mark.parametrize(
    "density",
    [gaussian(2.5), Density("laplace", MEANS, 2.0), gaussian(np.full((N, 5), 2.5) + 0.1 * MEANS**2)],
    ids=["gaussian", "laplace", "of each input"],
)
def test_more_releases_tell_more_and_the_number_is_said_at_which_nothing_is_hidden(density):
    found = ceiling_of(density, INPUTS, FLOOR, N, 0)
    assert [at.n_releases for at in found.at] == list(RELEASES)
    rates, gains = ([getattr(at, name).value for at in found.at] for name in ("identified", "leakage_gain"))
    assert rates == sorted(rates)
    assert gains == sorted(gains)
    assert rates[0] < 0.5
    for at in found.at:
        assert at.identified.low <= at.identified.value <= at.identified.high
        assert at.leakage_gain.low <= at.leakage_gain.value <= at.leakage_gain.high
    if found.gone_after is not None:
        near = ceiling_of(density, INPUTS, FLOOR, N, 1)
        assert near.gone_after == pytest.approx(found.gone_after, rel=0.25)
        assert all(rate >= 0.95 for at, rate in zip(found.at, rates, strict=True) if at.n_releases >= found.gone_after)


def test_many_numbers_come_to_the_same_as_the_few_in_which_inputs_differ():
    """A rotation into more dimensions, with a deviation of each element that is undone, changes nothing."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 5)))[0].T
    scale = np.random.default_rng(1).uniform(0.5, 2, 40)
    wide = Density("gaussian", ((7 + MEANS @ rotation) * scale).reshape(N, 10, 2, 2), (scale * 0.7).reshape(10, 2, 2))
    few, many = (ceiling_of(density, INPUTS, FLOOR, N, 0).at[0] for density in (gaussian(0.7), wide))
    assert few.identified.value == pytest.approx(many.identified.value, abs=0.05)
    assert few.leakage_gain.value == pytest.approx(many.leakage_gain.value, abs=0.05)
    directly = wide.log_density(torch.from_numpy(wide.mean)).numpy()
    apart = np.square(MEANS[:, None] - MEANS).sum(axis=2) / (2 * 0.7**2)
    np.testing.assert_allclose(np.diag(directly)[:, None] - directly, apart, rtol=1e-4, atol=1e-4)


def test_a_lot_decides_between_candidates_for_which_the_head_gives_the_same():
    """Six points, far apart, with ten candidates each: rounding tells none of them from the other nine."""
    points = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32) * 100
    found = ceiling_of(gaussian(0.01, np.repeat(points, 10, axis=0)), INPUTS, FLOOR, N, 0)
    for at in found.at:
        assert at.identified.value == pytest.approx(0.1, abs=1e-6)


def test_equal_pictures_count_as_one_candidate():
    """Two of three are the same picture: it is guessed where nothing is known, and is right twice of three times."""
    inputs = INPUTS[[0, 1, 1]]
    found = ceiling_of(gaussian(1e9, MEANS[:3]), inputs, inputs.mean(axis=0), 3, 0)
    assert found.at[0].identified.value == pytest.approx(2 / 3, abs=0.01)


def test_one_input_has_no_interval_of_its_leakage():
    found = ceiling_of(gaussian(0.5), INPUTS, FLOOR, 1, 0).at[0]
    assert isnan(found.leakage_gain.high)
    assert 0 < found.identified.high < 1


def test_noise_that_is_kept_for_an_input_is_not_averaged_away():
    class Kept(GaussianNoise):
        random = False

        def density(self, smashed):
            return Density("gaussian", smashed, self.sigma)

    fresh, kept = (ceiling(kind(sigma=3.0), head, splits(), 30, 0) for kind in (GaussianNoise, Kept))
    assert kept.at[0] == fresh.at[0]
    assert len({at.identified.value for at in kept.at}) == 1
    assert [at.n_releases for at in kept.at] == list(RELEASES)
    assert fresh.at[-1].identified.value > kept.at[-1].identified.value
    assert kept.gone_after is None


def splits():
    part = Dataset(INPUTS, np.zeros(N, np.int64))
    return Splits("made", ("one",), part, part, part, part)


def head(images):
    return images.reshape(len(images), -1)[:, :5] * 4


def test_the_defense_says_whether_there_is_a_ceiling():
    assert ceiling(Defense(), head, splits(), 12, 0) == Ceiling("deterministic")
    assert ceiling(Quantize(bits=2), head, splits(), 12, 0) == Ceiling("deterministic")
    assert ceiling(Dropout(rate=0.5), head, splits(), 12, 0) == Ceiling("density unknown")
    found = ceiling(GaussianNoise(sigma=0.5), head, splits(), 12, 0)
    assert (found.none, found.candidates, found.at[0].leakage_gain.n) == ("", N, 12)
    behind = ceiling(GaussianNoise(sigma=0.5).then(Quantize(bits=2)), head, splits(), 12, 0)
    assert behind.at == found.at, "what follows the noise does not raise the ceiling"


def test_the_record_is_read_back():
    for record in (Ceiling("deterministic"), ceiling(GaussianNoise(sigma=0.5), head, splits(), 12, 0)):
        assert load(Ceiling, dump(record)) == record
        assert record.over(65) is None
    assert record.over(3).n_releases == 4
    assert nan not in dump(record).values()


def told(noise):
    """The ceiling of a transformer that is cut after its first block, behind Gaussian noise."""
    split, data = trained(), sentences()

    def head(ids):
        with torch.no_grad():
            return split.head(torch.from_numpy(ids)).numpy()

    return ceiling(GaussianNoise(sigma=noise), head, data, len(data.private), seed=0)


def test_sentences_without_noise_are_all_told_and_behind_much_of_it_only_their_lengths():
    ids = sentences().private.inputs
    own = lengths(ids)
    faint, strong = told(1e-3).at[0], told(1e6).at[0]
    assert faint.identified.value == faint.leakage_gain.value == 1
    # The best guess is one of the sentences of the same length.
    known = np.mean([1 / (own == length).sum() for length in own])
    assert bracketed(strong.identified, known)
    assert strong.leakage_gain.value < 0.5
    rates = [at.identified.value for at in told(8.0).at]
    assert rates == sorted(rates)
    assert rates[0] < 0.95 < rates[-1]


def test_an_attack_on_sentences_does_not_read_more_than_the_ceiling_says():
    split, data, noise = trained(), sentences(), GaussianNoise(sigma=20.0)

    def head(ids):
        with torch.no_grad():
            return split.head(torch.from_numpy(ids)).numpy()

    query = oracle(wire(head, noise, "raw", [1], data.input.shape[0]))
    seen = view(
        Access.BLACK_BOX, input=split.input, smashed=split.smashed, auxiliary=data.auxiliary, query=query,
        defense=noise, device=torch.device("cpu"),
    )  # fmt: skip
    attack, ids = ATTACKS.make("nearest-activation", words="none"), torch.from_numpy(data.private.inputs)
    attack.fit(seen)
    wrong = 1 - float(right_share(attack.invert(query(ids)), ids).mean())
    floor = 1 - float(right_share(torch.from_numpy(data.floor).expand_as(ids), ids).mean())
    assert 1 - wrong / floor <= told(20.0).at[0].leakage_gain.high


def test_the_best_guess_of_a_row_is_no_worse_than_any_other():
    """Against every candidate's word, and every number on a fine grid, for candidates of random chances."""
    columns = (Column("n", 0, low=-1, high=3, tolerance=0.5), Column("w", 1, ("a", "b", "c")))
    rng = np.random.default_rng(4)
    rows = np.concatenate([rng.random((N, 1)), np.eye(3)[rng.integers(0, 3, N)]], 1).astype(np.float32)
    attacker = _Attacker.of(gaussian(1.0), rows, table(columns))
    chances = torch.from_numpy(rng.dirichlet(np.full(len(attacker.candidates), 0.1), 50).astype(np.float32))
    right = np.zeros((50, 2))
    for k, guess in enumerate(attacker._best_guess(chances)):
        found = right_columns(guess.expand_as(attacker.candidates), attacker.candidates, columns)
        right[k] = chances[k] @ found.float()
    numbers, words = attacker.candidates[:, 0].numpy(), attacker.candidates[:, 1:].argmax(1).numpy()
    grid = np.linspace(0, 1, 2001)
    of_numbers = chances.numpy() @ (np.abs(numbers[:, None] - grid) * 4 <= 0.5)
    of_words = np.stack([chances.numpy()[:, words == word].sum(1) for word in range(3)], 1)
    assert np.allclose(right[:, 0], of_numbers.max(1), atol=1e-5)
    assert np.allclose(right[:, 1], of_words.max(1), atol=1e-5)


def test_the_ceiling_of_rows_is_everything_without_noise_and_hardly_more_than_the_floor_behind_much():
    columns = (Column("w", 0, ("a", "b", "c", "d")),)
    rows = np.eye(4, dtype=np.float32)[np.random.default_rng(5).choice(4, N, p=(0.4, 0.2, 0.2, 0.2))]
    kind, means = table(columns), rows[:, :3].copy()
    faint, strong = (
        ceiling_of(Density("gaussian", means, sigma), rows, kind.floor(rows), N, 0, kind) for sigma in (1e-4, 1e4)
    )
    assert faint.at[0].leakage_gain.value == 1
    assert strong.at[0].leakage_gain.value < 0.1
