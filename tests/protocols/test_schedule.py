"""Who takes part, in which order, and which samples each step has."""

from typing import Any

import numpy as np

from cutlayer.protocols.plan import TrainingPlan, parse
from cutlayer.protocols.schedule import batches, chosen, turns


def plan(**changes: Any) -> TrainingPlan:
    return parse({"data": "digits", "model": "lenet", "cut": "relu2", "protocol": "splitfed-v2"} | changes)


def test_everybody_takes_part_unless_the_plan_samples() -> None:
    assert chosen(plan(clients=4), 3) == [1, 2, 3, 4]
    sampled = [chosen(plan(clients=10, sampling=0.3), round) for round in range(40)]
    assert all(len(set(clients)) == 3 and clients == sorted(clients) for clients in sampled)
    assert {client for clients in sampled for client in clients} == set(range(1, 11))
    assert sampled == [chosen(plan(clients=10, sampling=0.3), round) for round in range(40)]
    assert sampled != [chosen(plan(clients=10, sampling=0.3, seed=1), round) for round in range(40)]
    assert len(chosen(plan(clients=10, sampling=0.001), 0)) == 1


def test_the_order_is_drawn_where_the_last_client_counts_most() -> None:
    orders = [turns(plan(clients=5), round) for round in range(20)]
    assert all(sorted(order) == [1, 2, 3, 4, 5] for order in orders)
    assert len({tuple(order) for order in orders}) > 10
    assert turns(plan(clients=5, protocol="vanilla"), 7) == [1, 2, 3, 4, 5]
    assert turns(plan(clients=5, protocol="parallel"), 7) == [1, 2, 3, 4, 5]
    assert sorted(turns(plan(clients=6, sampling=0.5), 2)) == chosen(plan(clients=6, sampling=0.5), 2)


def test_an_epoch_has_each_sample_once_in_even_steps() -> None:
    steps = batches(plan(batch=32), 2, 65, 0, 0)
    assert [len(step) for step in steps] == [22, 22, 21]
    assert sorted(np.concatenate(steps).tolist()) == list(range(65))
    assert [len(step) for step in batches(plan(batch=32), 2, 33, 0, 0)] == [17, 16]
    assert len(batches(plan(batch=32), 2, 1, 0, 0)) == 1


def test_each_epoch_round_and_client_has_an_order_of_its_own() -> None:
    orders = {
        tuple(np.concatenate(batches(plan(), client, 50, round, epoch)).tolist())
        for client in (1, 2) for round in (0, 1) for epoch in (0, 1)
    }  # fmt: skip
    assert len(orders) == 8
