"""Clients that do not fit, that vanish, and that come late."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.edge.training.client import Client, run
from cutlayer.errors import Refused, WriteError
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.training import Call, Reply, packed
from tests.protocols.direct import CLASSES, INPUT, Direct, Run, dataset, model, planned


class Gone(Exception):
    """This client's process has ended."""


class Clock:
    """A clock that goes on only when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Late(Direct):
    """A session whose client is overdue before its second step, and then comes back or does not."""

    def __init__(self, coordinator: Coordinator, number: int, clock: Clock, back: bool) -> None:
        super().__init__(coordinator, f"session {number}", [])
        self.number, self.clock, self.back, self.steps = number, clock, back, 0

    def ask(self, call: Call, *arguments: Any) -> Reply:
        self.steps += call is Call.STEP
        if call is Call.STEP and self.steps == 2:
            while self.coordinator.awaited != {self.number}:
                time.sleep(0.005)
            self.clock.now += 1000
            self.coordinator.look()
            if not self.back:
                raise Gone
        return super().ask(call, *arguments)


def run_with_a_late_client(number: int, back: bool, protocol: str, **changes: Any) -> Run:
    clock = Clock()

    def session(coordinator: Coordinator, k: int) -> Direct:
        return Late(coordinator, k, clock, back) if k == number else Direct(coordinator, f"session {k}", [])

    return Run(planned(protocol, straggler_s=999.0, **changes), session=session, clock=clock)


@pytest.mark.parametrize("protocol", ["vanilla", "splitfed-v1", "parallel", "local-loss"])
def test_the_others_go_on_without_a_client_that_vanishes(protocol: str) -> None:
    finished = run_with_a_late_client(2, False, protocol, stragglers="drop")
    assert [type(error) for error in finished.errors] == [Gone]
    for number in (1, 2):
        assert {e.client for e in finished.heard if (e.name, e.round) == ("collected", number)} == {1, 3}
    assert [e.round for e in finished.heard if e.name == "round"] == [1, 2]
    assert finished.coordinator.gone == {2}


@pytest.mark.parametrize("protocol", ["vanilla", "splitfed-v1", "parallel"])
def test_a_client_that_comes_late_takes_part_again(protocol: str) -> None:
    finished = run_with_a_late_client(2, True, protocol, stragglers="drop", rounds=8, evaluate_rounds=8).checked()
    there = {e.round for e in finished.heard if (e.name, e.client) == ("collected", 2)}
    assert 1 not in there
    assert 8 in there


def test_a_training_that_all_clients_have_left_is_over() -> None:
    clock = Clock()

    class Leaving(Direct):
        def ask(self, call: Call, *arguments: Any) -> Reply:
            if call is Call.STEP:
                raise Gone
            return super().ask(call, *arguments)

    plan = planned(clients=1, straggler_s=999.0, stragglers="drop")
    coordinator = Coordinator(plan, model(), INPUT, CLASSES, clock=clock)
    with pytest.raises(Gone):
        run(Client(plan, 1, model(), INPUT, CLASSES, dataset(9, 1), dataset(4, 2), Leaving(coordinator, "alone", [])))
    for seconds, finished in ((9000.0, False), (1000.0, True)):
        clock.now += seconds
        coordinator.look_for_all()
        assert coordinator.finished == finished
    assert coordinator.rounds == 0
    coordinator.close()


class Slow(Late):
    """A session whose client takes long for each step, and not too long."""

    def ask(self, call: Call, *arguments: Any) -> Reply:
        if call is Call.STEP:
            while self.coordinator.awaited != {self.number}:
                time.sleep(0.005)
            self.clock.now += 600
            self.coordinator.look()
        return Direct.ask(self, call, *arguments)


@pytest.mark.parametrize("protocol", ["vanilla", "splitfed-v1", "parallel", "local-loss"])
def test_a_client_that_answers_each_time_is_no_straggler(protocol: str) -> None:
    clock = Clock()

    def session(coordinator: Coordinator, k: int) -> Direct:
        return Slow(coordinator, k, clock, True) if k == 1 else Direct(coordinator, f"session {k}", [])

    plan = planned(protocol, straggler_s=999.0, stragglers="drop", rounds=1)
    finished = Run(plan, session=session, clock=clock).checked()
    assert clock.now > 999.0
    assert {e.client for e in finished.heard if e.name == "collected"} == {1, 2, 3}


def test_another_client_takes_the_place_of_one_that_vanishes() -> None:
    changes = {"sampling": 0.67, "rounds": 1, "stragglers": "replace"}
    chosen = {e.client for e in Run(planned("splitfed-v1", **changes)).heard if e.name == "collected"}
    lost = next(client for client in sorted(chosen) if client != 2)
    finished = run_with_a_late_client(lost, False, "splitfed-v1", **changes)
    assert [type(error) for error in finished.errors] == [Gone]
    assert {e.client for e in finished.heard if e.name == "collected"} == {1, 2, 3} - {lost}


def test_a_training_has_failed_when_every_client_knows_it() -> None:
    coordinator = Coordinator(planned(clients=2), model(), INPUT, CLASSES)
    for k in (1, 2):
        client(coordinator, k, plan=planned(clients=2)).open()
    coordinator.failed = Refused("FAILED_PRECONDITION", "The training diverged.")
    assert not coordinator.finished
    for k in (1, 2):
        assert not coordinator.finished
        assert refused(coordinator, asked(Call.TURN, f"session {k}", round=1, steps=2)) == "The training diverged."
    assert coordinator.finished


def test_a_server_that_cannot_write_its_checkpoint_tells_every_client() -> None:
    class Full(Run):
        def _save(self, number: int) -> None:
            raise WriteError("The disk is full.")

    finished = Full(planned("splitfed-v1", checkpoint_rounds=1))
    told = "The server cannot go on: The disk is full. What was kept before is kept; see --resume."
    assert [str(error) for error in finished.errors] == [told] * 3
    assert str(finished.coordinator.failed) == told


def test_who_waits_is_told_for_whom() -> None:
    clock = Clock()
    coordinator = Coordinator(planned(), model(), INPUT, CLASSES, clock=clock)
    for k in (1, 3):
        client(coordinator, k).open()
    coordinator.take(asked(Call.TURN, "session 3", round=1, steps=2), lambda reply: None)
    assert coordinator.waiting("session 3") == "Client 3 waits for client 2 in the first round"
    clock.now = 31.0
    assert coordinator.awaits(30.0) == "Client 3 waits for client 2 in the first round, silent for 31 s."
    client(coordinator, 2).open()
    assert not coordinator.awaits(30.0)


def client(coordinator: Coordinator, number: int, name: str = "", **changes: Any) -> Client:
    session = Direct(coordinator, name or f"session {number}", [])
    plan, net, classes = changes.get("plan", planned()), changes.get("model", model)(), changes.get("classes", CLASSES)
    data = dataset(changes.get("n", 9), number)
    return Client(plan, number, net, INPUT, classes, data, dataset(8, 99), session)


def asked(call: Call, name: str, tensors: Any = None, **parameters: Any) -> Any:
    from cutlayer.wire.training import Ask

    return Ask(call, name, 0, parameters, tensors or {})


def refused(coordinator: Coordinator, ask: Any) -> str:
    replies: list[Any] = []
    coordinator.take(ask, replies.append)
    assert isinstance(replies[0], Refused), replies
    return str(replies[0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"number": 4}, "The clients of this plan are 1 to 3; 4 was given."),
        ({"plan": planned(seed=5)}, "This server trains the plan"),
        ({"model": lambda: model(bn=False)}, "Client 2 begins with another model than this server"),
        ({"classes": 7}, "Client 2 has 7 classes; this server has 4."),
        ({"n": 0}, "Client 2 has no training samples"),
        ({"number": 1}, "Client 1 is here already"),
    ],
)
def test_a_client_that_does_not_fit_is_refused_and_the_others_stay(changes: dict[str, Any], says: str) -> None:
    coordinator = Coordinator(planned(), model(), INPUT, CLASSES)
    client(coordinator, 1).open()
    with pytest.raises(Refused, match=says):
        client(coordinator, **{"number": 2, "name": "another", **changes}).open()
    assert client(coordinator, 2).open() == 0


def test_in_a_step_of_all_a_client_answers_for_its_own_batch() -> None:
    plan = planned("parallel", clients=2)
    coordinator = Coordinator(plan, model(), INPUT, CLASSES)
    replies: dict[int, list[Any]] = {1: [], 2: []}
    for k in (1, 2):
        client(coordinator, k, plan=plan).open()
    for k in (1, 2):
        coordinator.take(asked(Call.TURN, f"session {k}", round=1, steps=1), lambda reply: None)
    smashed = Encoded("FP32", (2, 4, 4, 4), bytes(512))
    for k, labels in ((1, [0, 1]), (2, [0, 9]), (2, [0, 3])):
        tensors = {"smashed": smashed, "labels": Encoded("INT64", (2,), torch.tensor(labels).numpy().tobytes())}
        coordinator.take(asked(Call.STEP, f"session {k}", tensors, round=1), replies[k].append)
        assert not (k == 2 and 9 in labels and replies[1])
    refused_one, taken = replies[2]
    assert isinstance(refused_one, Refused)
    assert taken.tensors.keys() == replies[1][0].tensors.keys() == {"gradient"}


def test_asks_that_do_not_fit_are_refused_in_one_sentence_and_change_nothing() -> None:
    coordinator = Coordinator(planned(clients=1), model(), INPUT, CLASSES)
    one = client(coordinator, 1, plan=planned(clients=1))
    one.open()
    before = coordinator.tails.weights()
    session = "session 1"
    assert "round" in refused(coordinator, asked(Call.TURN, session, steps=2))
    assert "not in its turn" in refused(coordinator, asked(Call.STEP, session, round=1))
    coordinator.take(asked(Call.TURN, session, round=1, steps=2), lambda reply: None)
    smashed = Encoded("FP32", (2, 4, 4, 4), bytes(512))
    labels = Encoded("INT64", (2,), torch.tensor([0, 9]).numpy().tobytes())
    for tensors, says in (
        ({}, "'smashed' is missing"),
        ({"smashed": smashed}, "'labels' is missing"),
        ({"smashed": smashed, "labels": labels}, "between 0 and 3; the labels go from 0 to 9"),
        ({"smashed": smashed._replace(shape=(2, 64))}, r"at its cut it is (N, 4, 4, 4)"),
        ({"smashed": smashed._replace(data=b"")}, "does not have 0 bytes"),
    ):
        assert says in refused(coordinator, asked(Call.STEP, session, tensors, round=1))
    assert "taken 0" in refused(coordinator, asked(Call.AGGREGATE, session, round=1))
    coordinator.take(asked(Call.TURN, session, round=1, steps=0), lambda reply: None)
    wrong = {"weights": packed({"conv9.weight": torch.zeros(2)})}
    empty = Coordinator(planned(clients=1), model(), INPUT, CLASSES)
    client(empty, 1, plan=planned(clients=1)).open()
    empty.take(asked(Call.TURN, session, round=1, steps=0), lambda reply: None)
    assert "other layers" in refused(empty, asked(Call.AGGREGATE, session, wrong, round=1))
    for name, value in coordinator.tails.weights().items():
        assert torch.equal(value, before[name])


def test_clients_that_get_the_same_weights_get_the_same_bytes_in_memory() -> None:
    plan = planned("splitfed-v1")
    coordinator = Coordinator(plan, model(), INPUT, CLASSES)
    replies: list[Any] = []
    for k in (1, 2, 3):
        client(coordinator, k, plan=plan).open()
    for k in (1, 2, 3):
        coordinator.take(asked(Call.TURN, f"session {k}", round=1, steps=2), replies.append)
    first, *others = (reply.tensors["weights"] for reply in replies)
    assert all(other is first for other in others)
