"""A training over real sockets ends with the bits of the joint training in one process (A1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.cloud.training.service import TrainingService
from cutlayer.edge.training.session import Session
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.recording import Recording
from cutlayer.records.transcript import Transcript
from cutlayer.wire.connect import connect, listen
from tests.protocols.direct import Run, dataset, model, planned
from tests.protocols.test_exact import SMALL, STEPS, assert_same, joint


class Network:
    """Sessions over a transport with one server, which is started with the first of them."""

    def __init__(self, address: str) -> None:
        self._address, self._stack, self._at = address, ExitStack(), ""

    def session(self, coordinator: Coordinator, client: int) -> Any:
        if not self._at:
            service = TrainingService(lambda: coordinator)
            server = listen(self._address, service)
            self._at = str(server.address)
            self._stack.callback(service.drain)
            self._stack.callback(server.close)
        transport = connect(self._at)
        session = Session(transport)
        self._stack.callback(transport.close)
        self._stack.callback(session.close)
        return session

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    address = "inprocess://a-training" if request.param == "inprocess" else f"{request.param}://127.0.0.1:0"
    network = Network(address)
    yield network
    network.close()


@cache
def in_one_piece(optimizer: str) -> dict[str, Tensor]:
    """The joint training of what the next test trains."""
    data = {1: dataset(12, 1), 2: dataset(9, 2)}
    return joint(hundred_steps(optimizer), model(), optimizer, data)


@cache
def without_network(protocol: str) -> Run:
    return Run(row(protocol), sizes=SMALL).checked()


def hundred_steps(optimizer: str) -> TrainingPlan:
    options = {"rounds": 17, "clients": 2, "batch": 4, "evaluate_rounds": 17, "checkpoint_rounds": 0}
    return planned(optimizer=STEPS[optimizer], **options)


def row(protocol: str) -> TrainingPlan:
    return planned(protocol, **({"end": "relu3"} if protocol == "u-shaped" else {}))


@pytest.mark.parametrize(
    ("network", "optimizer"),
    [*((scheme, name) for scheme in ("grpc", "zmq") for name in STEPS), ("inprocess", "adam")],
    indirect=["network"],
)
def test_a_networked_training_is_the_joint_training(network: Network, optimizer: str) -> None:
    run = Run(hundred_steps(optimizer), sizes=(12, 9), session=network.session).checked()
    assert sum(event.name == "answered" for event in run.heard) >= 100
    assert_same(run.whole(2), in_one_piece(optimizer))


@pytest.mark.parametrize("network", ["grpc", "zmq"], indirect=True)
@pytest.mark.parametrize("protocol", ["u-shaped", "splitfed-v1", "parallel", "local-loss"])
def test_the_arrival_order_of_a_network_changes_no_bit(network: Network, protocol: str) -> None:
    networked, direct = Run(row(protocol), sizes=SMALL, session=network.session).checked(), without_network(protocol)
    for client in (1, 2, 3):
        assert_same(networked.whole(client), direct.whole(client))
    assert networked.accuracies() == direct.accuracies()
    assert networked.coordinator.traffic == direct.coordinator.traffic


@pytest.mark.parametrize("protocol", ["fedavg", {"name": "parallel", "sync": "step"}], ids=["fedavg", "parallel"])
@pytest.mark.parametrize("network", ["grpc", "zmq"], indirect=True)
def test_the_server_records_the_updates_that_the_clients_sent(network: Network, protocol: Any, tmp_path: Path) -> None:
    """The record holds updates of whole models, and of heads whose gradients are summed in each step."""
    run = Run(planned(protocol, record=True, rounds=2, clients=2), sizes=SMALL, session=network.session).checked()
    recording = Recording(tmp_path)
    for event in run.heard:
        recording(event)
    transcript = Transcript(tmp_path)
    for number in (1, 2):
        found = {each.client: each for each in transcript.delivered(number)}
        assert found.keys() == run.clients.keys()
        for client, each in found.items():
            sent = [e.what["weights"] for e in run.seen[client] if (e.name, e.round) == ("delivered", number)]
            assert each.weights.keys() == sent[0].keys()
            for name, value in sent[0].items():
                assert np.array_equal(each.weights[name], value.numpy()), name
            assert each.samples == len(run.data[client])
            assert each.steps == -(-each.samples // 8)
            assert len(each.gradients) == (0 if protocol == "fedavg" else each.steps)
