import numpy as np
import pytest

from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.shredder import Shredder, _fitted
from cutlayer.errors import ConfigError
from tests.defenses.victims import accuracy, rng, shades, small_split


@pytest.fixture(scope="module")
def trained():
    return small_split(trained_epochs=10)


def learned(halves, **options):
    defense = Shredder(**{"scale": 2.0, "n_noises": 4, "epochs": 20, **options})
    assert defense.harden(halves, shades(), 0) is halves
    return defense


def test_the_model_is_more_accurate_behind_learned_noise_than_behind_any_of_its_size(trained):
    data, defense = shades(), learned(trained)
    size = float(defense.learned["scale"].mean())
    assert size > 1.0
    assert accuracy(trained, defense.protect, data) > accuracy(trained, LaplaceNoise(scale=size).protect, data) + 0.05


def test_the_weight_makes_noise_larger_and_a_weight_of_zero_is_none(trained):
    sizes = [learned(trained, weight=weight).learned["scale"].mean() for weight in (0.0, 1.0, 100.0)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_what_is_released_follows_the_fitted_law_in_the_learned_order():
    collection = rng().laplace(3, 2, (5, 4, 30, 30)).astype(np.float32)
    defense = Shredder(scale=2.0, n_noises=5)
    defense.deploy(_fitted(collection), None)
    noise = defense.protect(np.zeros((40, 4, 30, 30), np.float32), rng()).reshape(40, -1)
    assert np.median(noise) == pytest.approx(3, abs=0.1)
    assert np.abs(noise - 3).mean() == pytest.approx(2, rel=0.05)
    orders = defense.learned["order"]
    assert all(
        np.array_equal(np.argsort(member.reshape(-1)), order) for member, order in zip(collection, orders, strict=True)
    )
    followed = (np.diff(noise[:, orders], axis=2) >= 0).all(axis=2)
    assert (followed.sum(axis=1) == 1).all()
    assert followed.any(axis=0).all()
    assert len(np.unique(noise[:, 0])) == 40, "the numbers are fresh for each sample"


def test_a_release_is_close_to_one_of_few_constants_which_an_attacker_can_subtract():
    collection = rng().laplace(0, 2, (3, 900)).astype(np.float32)
    defense = Shredder(scale=2.0, n_noises=3)
    defense.deploy(_fitted(collection), None)
    noise = defense.protect(np.zeros((60, 900), np.float32), rng())
    nearest = np.abs(noise[:, None] - collection[None]).mean(axis=2).min(axis=1)
    assert nearest.mean() < 0.2 * np.abs(noise).mean()


def test_it_must_learn_first():
    with pytest.raises(ConfigError, match="call harden"):
        Shredder(scale=1.0).protect(np.zeros((1, 3), np.float32), rng())
