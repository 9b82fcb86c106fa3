"""Partitions are disjoint and complete, follow their law, and are the same for the same draws."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cutlayer.data.partition import LAWS, Indices, Partition, check_complete, digest, histogram, partition, with_noise
from cutlayer.errors import ConfigError, DataError

LABELS = np.random.default_rng(0).integers(0, 10, 2000)
PERSONS = np.random.default_rng(1).integers(0, 40, 2000)


def drawn(law: Partition, clients: int = 5, seed: int = 0, labels: NDArray[np.int64] = LABELS) -> Indices:
    return partition(labels, law, clients, np.random.default_rng(seed), PERSONS)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("clients", [1, 5, 20])
def test_a_partition_is_disjoint_and_complete_and_follows_from_its_draws(name: str, clients: int) -> None:
    law = Partition(name, alpha=0.3, classes=10 if clients == 1 else 2, least=2)
    parts = drawn(law, clients)
    assert len(parts) == clients
    check_complete(parts, len(LABELS))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert min(map(len, parts)) >= 2
    assert digest(parts) == digest(drawn(law, clients))
    assert clients == 1 or digest(parts) != digest(drawn(law, clients, seed=1))


def test_iid_divides_evenly() -> None:
    assert [len(part) for part in drawn(Partition("iid"), 3)] == [667, 667, 666]


def test_dirichlet_is_the_more_uneven_the_smaller_alpha_is() -> None:
    def largest_class(alpha: float) -> float:
        table = histogram(LABELS, drawn(Partition("dirichlet", alpha=alpha)), 10)
        return float((table.max(axis=1) / table.sum(axis=1)).mean())

    assert largest_class(100) < 0.2 < largest_class(0.5) < largest_class(0.05)


def test_dirichlet_shares_have_the_mean_and_the_spread_of_the_distribution() -> None:
    one = np.zeros(10_000, np.int64)
    law = Partition("dirichlet", alpha=2.0, least=1)
    shares = np.array([[len(part) / 10_000 for part in drawn(law, 4, seed, one)] for seed in range(300)])
    assert shares.mean(axis=0) == pytest.approx([0.25] * 4, abs=0.03)
    # The variance of one share of K with parameter alpha is (1/K)(1 - 1/K) / (K alpha + 1).
    assert shares.var(axis=0) == pytest.approx([0.1875 / 9] * 4, rel=0.3)


def test_each_client_has_so_many_classes_and_shares_them_equally() -> None:
    table = histogram(LABELS, drawn(Partition("classes", classes=3), 10), 10)
    assert ((table > 0).sum(axis=1) == 3).all()
    assert ((table > 0).sum(axis=0) == 3).all()
    for held in table.T:
        assert np.ptp(held[held > 0]) <= 1


def test_shards_are_of_few_classes_and_of_equal_size() -> None:
    parts = drawn(Partition("shards", shards=2), 20)
    assert {len(part) for part in parts} == {100}
    assert (histogram(LABELS, parts, 10) > 0).sum(axis=1).max() <= 4


def test_quantity_varies_the_numbers_and_mixes_the_classes() -> None:
    table = histogram(LABELS, drawn(Partition("quantity", beta=0.5), 5), 10)
    assert table.sum(axis=1).max() > 3 * table.sum(axis=1).min()
    largest = table[table.sum(axis=1).argmax()]
    assert largest.min() > 0.5 * largest.mean()


def test_a_person_stays_together() -> None:
    parts = drawn(Partition("natural"), 7)
    owners = [set(PERSONS[part].tolist()) for part in parts]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 40
    assert [len(own) for own in owners] == [6, 6, 6, 6, 6, 5, 5]


def test_what_leaves_a_client_empty_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"leaves a client with fewer than 390 samples in each of 1,000 draws"):
        drawn(Partition("dirichlet", alpha=0.05, least=390))
    with pytest.raises(ConfigError, match="cannot give 300 clients 10 each"):
        drawn(Partition("iid"), 300)
    with pytest.raises(ConfigError, match=r"all 10 classes of the data; partition\.classes must be 4 to 10"):
        drawn(Partition("classes", classes=3), 3)
    with pytest.raises(ConfigError, match="of 40 persons or devices, too few for 50"):
        drawn(Partition("natural"), 50)
    with pytest.raises(ConfigError, match="which person or device"):
        partition(LABELS, Partition("natural"), 5, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="did you mean shards"):
        drawn(Partition("shard"))


def test_what_is_no_partition_is_refused() -> None:
    parts = drawn(Partition("iid"))
    with pytest.raises(DataError, match="it holds 1,600 positions"):
        check_complete(parts[:-1], len(LABELS))
    with pytest.raises(DataError, match="damaged"):
        check_complete([*parts[:-1], parts[0]], len(LABELS))


def test_the_noise_of_features_grows_from_client_to_client() -> None:
    inputs, law = np.full((50, 1, 8, 8), 0.5, np.float32), Partition(sigma=0.1)
    spread = [float((with_noise(inputs, law, k, 5, np.random.default_rng(0)) - inputs).std()) for k in range(1, 6)]
    assert spread == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1], rel=0.05)
    assert with_noise(inputs, Partition(), 3, 5, np.random.default_rng(0)) is inputs
    loud = with_noise(inputs, Partition(sigma=5.0), 5, 5, np.random.default_rng(0))
    assert loud.min() == 0
    assert loud.max() == 1
    assert loud.dtype == np.float32
