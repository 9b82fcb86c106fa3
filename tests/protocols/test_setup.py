"""The data and the model of a plan, the same wherever they are made."""

from typing import Any

import numpy as np
import pytest
import torch

from cutlayer.data.partition import check_complete, digest
from cutlayer.errors import ConfigError, SplitError
from cutlayer.protocols.plan import parse
from cutlayer.protocols.setup import Setup, prepare


def setup(**changes: Any) -> Setup:
    base = {"data": "digits", "model": "lenet", "cut": "pool1", "protocol": "splitfed-v1", "samples": 300, "test": 100}
    return prepare(parse(base | changes))


def test_every_party_makes_the_same_model_and_the_same_partition() -> None:
    one, other, seeded = setup(), setup(protocol="fedavg"), setup(seed=1)
    assert digest(one.indices) == digest(other.indices) != digest(seeded.indices)
    states = [made.model().state_dict() for made in (one, other, seeded)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


def test_the_clients_hold_all_samples_and_no_test_sample() -> None:
    made = setup(partition={"name": "dirichlet", "alpha": 0.3}, clients=4)
    check_complete(made.indices, 300)
    assert sum(len(made.samples(client)) for client in range(1, 5)) == 300
    assert made.held().sum() == 300
    assert made.held()[1].tolist() == np.bincount(made.samples(2).labels, minlength=10).tolist()
    assert len(made.test) == 100
    seen = {sample.tobytes() for sample in made.train.inputs}
    assert sum(sample.tobytes() in seen for sample in made.test.inputs) <= 1  # scikit-learn has one digit twice


def test_the_devices_of_the_last_client_are_the_noisiest() -> None:
    clean, noisy = setup(clients=3), setup(clients=3, partition={"name": "iid", "sigma": 0.2})
    spread = [float(np.abs(noisy.samples(client).inputs - clean.samples(client).inputs).mean()) for client in (1, 2, 3)]
    assert 0 < spread[0] < spread[1] < spread[2]
    assert np.array_equal(noisy.samples(3).inputs, noisy.samples(3).inputs)


def test_centralised_has_one_client_with_all_samples() -> None:
    made = setup(protocol="centralised", clients=7, partition="shards")
    assert list(map(len, made.indices)) == [300]


def test_batch_normalization_is_replaced_where_the_plan_says_so() -> None:
    assert "bn1.running_mean" in setup(model="lenet_bn").model().state_dict()
    assert "bn1.running_mean" not in setup(model="lenet_bn", bn="replaced").model().state_dict()
    with pytest.raises(ConfigError, match="no batch normalization that bn = 'replaced' could replace"):
        setup(bn="replaced")


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"samples": 5000}, ConfigError, "digits has 898 train samples, not 5,000; state a smaller samples"),
        ({"test": 2000}, ConfigError, "digits has 225 test samples, not 2,000; state a smaller test"),
        ({"input": "1x16x16"}, ConfigError, "digits are 1x8x8, not 1x16x16; leave out input"),
        ({"cut": "pool3"}, SplitError, "did you mean pool"),
        ({"protocol": "u-shaped", "end": "conv1"}, SplitError, "no cut behind pool1 in lenet; those are conv2, relu2"),
        ({"clients": 31}, ConfigError, "cannot give 31 clients 10 each"),
        ({"partition": "natural"}, ConfigError, "which person or device"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(
    changes: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        setup(**changes)


def test_a_u_shaped_plan_has_a_second_cut() -> None:
    assert setup(protocol="u-shaped", end="relu3").plan.row.u_shaped
