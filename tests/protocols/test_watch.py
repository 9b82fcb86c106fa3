"""Clients whose detectors watch a server: over real sockets, one that hijacks them is found, an honest one is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from cutlayer.attacks.training.training_inversion import system
from cutlayer.cloud.training.attacking import attacking
from cutlayer.cloud.training.tails import Tails
from cutlayer.edge.training.client import Client
from cutlayer.errors import AlarmError, ConfigError, DecodeError, Refused
from cutlayer.protocols.plan import parse, toml
from cutlayer.wire.training import Ask, Call, Reply, packed
from tests.protocols.direct import CLASSES, INPUT, Direct, Run, dataset, model, planned
from tests.protocols.test_networked import Network

FSHA = {"lr": 1e-3, "decoder_lr": 1e-3, "critic_lr": 1e-3, "penalty": 10.0, "capacity": "he-small", "width": 8}
LISTEN = ["gap", "scrutinizer"]


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    network = Network(f"{request.param}://127.0.0.1:0")
    yield network
    network.close()


def watched(detectors: Any, **changes: Any) -> Any:
    return planned(detectors=detectors, rounds=3, batch=16, evaluate_rounds=3, **changes)


def hijacking() -> Callable[..., Tails]:
    return attacking(system("fsha", batch=16, **FSHA), dataset(64, 9))


def alarms(run: Run) -> set[tuple[int, str]]:
    return {(event.client, event.what["detector"]) for event in run.heard if event.name == "alarm"}


@pytest.mark.parametrize("network", ["grpc", "zmq"], indirect=True)
@pytest.mark.parametrize("server", ["honest", "fsha"])
def test_clients_find_a_server_that_hijacks_them_and_trust_an_honest_one(network: Network, server: str) -> None:
    tails = hijacking() if server == "fsha" else Tails
    plan = watched(LISTEN, clients=2)
    trained = Run(plan, sizes=(96, 80), session=network.session, tails=tails).checked()
    assert alarms(trained) == ({(k, name) for k in (1, 2) for name in LISTEN} if server == "fsha" else set())
    for event in (event for events in trained.seen.values() for event in events if event.name == "alarm"):
        assert event.what["score"] >= event.what["threshold"]
        assert "suspects the server" in event.what["said"]


def test_a_detector_that_only_listens_changes_no_bit_and_no_id() -> None:
    chosen = [*LISTEN, {"name": "split-out", "steps": 5}]
    plain, listened = (Run(watched(names)).checked() for names in ([], chosen))
    assert plain.plan.id == listened.plan.id
    for name, value in plain.whole(1).items():
        assert torch.equal(value, listened.whole(1)[name])


def test_wrong_labels_are_sent_and_no_head_steps_on_them() -> None:
    guard = {"name": "split-guard", "share": 0.5, "start": 2}
    trained = Run(watched([guard], clients=1), sizes=(96,)).checked()
    truth = torch.from_numpy(trained.data[1].labels)
    sent = {(e.round, e.step): e.what for e in trained.seen[1] if e.name == "sent"}
    fake = {
        key for key, what in sent.items() if not torch.equal(what["labels"], truth[torch.from_numpy(what["index"])])
    }
    assert 2 < len(fake) < len(sent) - 2
    assert not {(1, 0), (1, 1)} & fake
    # The server gets them as it gets others, and answers them.
    received = {(e.round, e.step): e.what["labels"] for e in trained.heard if e.name == "received"}
    assert all(torch.equal(received[key], sent[key]["labels"]) for key in fake)
    assert {(e.round, e.step) for e in trained.heard if e.name == "answered"} == sent.keys()
    assert {(e.round, e.step) for e in trained.seen[1] if e.name == "learned"} == sent.keys() - fake
    # The same labels again from the same counters, and no others.
    again = Run(watched([guard], clients=1), sizes=(96,)).checked()
    assert torch.equal(again.whole(1)["fc2.weight"], trained.whole(1)["fc2.weight"])
    assert trained.plan.id != watched([], clients=1).id


def test_a_client_that_is_to_stop_ends_the_training_with_the_reason() -> None:
    plan = watched([{"name": "gap", "on_alarm": "stop"}], clients=1)
    stopped = Run(plan, sizes=(64,), tails=hijacking())
    [error] = stopped.errors
    assert isinstance(error, AlarmError)
    assert "the detector gap on_alarm=stop suspects the server" in str(error)
    assert isinstance(stopped.coordinator.failed, Refused)
    assert "Client 1 trains no more in round" in str(stopped.coordinator.failed)
    assert alarms(stopped) == {(1, "gap on_alarm=stop")}


def test_a_server_that_does_not_let_go_is_left_all_the_same() -> None:
    plan = watched([{"name": "gap", "threshold": 0.0, "on_alarm": "stop"}], clients=1)

    class Deaf(Direct):
        def ask(self, call: Call, parameters: Any = None, tensors: Any = None) -> Any:
            if call is Call.AGGREGATE:
                return None
            return super().ask(call, parameters or {}, tensors or {})

    done = Run(plan, sizes=(32,), session=lambda coordinator, k: Deaf(coordinator, "deaf", []))
    assert isinstance(done.errors[0], AlarmError)


@pytest.mark.parametrize(
    ("protocol", "changes", "message"),
    [
        ("fedavg", {"detectors": "gap"}, "sends no gradient that a client could watch"),
        ("local-loss", {"detectors": ["gap"]}, "sends no gradient that a client could watch"),
        ("vanilla", {"detectors": ["gap"], "micro_batches": 2}, "set micro_batches = 1"),
        ("u-shaped", {"detectors": ["split-guard"], "end": "relu3"}, "sends wrong labels, and u-shaped sends none"),
        ("vanilla", {"detectors": ["gaps"]}, "There is no detector named 'gaps'"),
        ("vanilla", {"detectors": [{"name": "gap", "on_alarm": "cry"}]}, "on_alarm must be warn or stop"),
        ("vanilla", {"detectors": [{"name": "gap", "threshold": -1.0}]}, "threshold must be"),
    ],
)
def test_a_detector_that_cannot_watch_is_refused(protocol: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(protocol, **changes)


def test_the_plan_is_written_as_it_was_read() -> None:
    import tomllib

    plan = planned(detectors=["gap", {"name": "split-guard", "share": 0.2, "on_alarm": "stop"}])
    assert parse(tomllib.loads(toml(plan))) == plan
    assert planned(detectors="gap") == planned(detectors=["gap"])


@pytest.mark.parametrize("text", ["{", "[1]", '[["gap", 1, 2]]', '[["gap", "x", 2, 3]]', "7", "[" * 9999])
def test_alarms_that_are_none_are_refused(text: str) -> None:
    from cutlayer.cloud.training.asks import alarms

    with pytest.raises(DecodeError, match="The alarms of a client"):
        alarms(Ask(Call.AGGREGATE, "s", 0, {"alarms": text}))
    assert alarms(Ask(Call.AGGREGATE, "s", 0, {"alarms": json.dumps([["gap", 3, 0.5, 0.25]])})) == [
        ("gap", 3, 0.5, 0.25)
    ]


def test_weights_that_sort_samples_are_not_trained_with() -> None:
    trained = Run(planned("fedavg", clients=2)).checked()
    client = Client(
        trained.plan,
        1,
        model(),
        INPUT,
        CLASSES,
        dataset(16, 0),
        dataset(16, 1),
        session=None,  # type: ignore[arg-type]
    )
    honest = {name: value for name, value in trained.whole(1).items() if name in client._shared}
    client._load_shared(Reply(0, tensors={"weights": packed(honest)}))
    trap = honest | {"conv2.weight": honest["conv2.weight"][:1].expand_as(honest["conv2.weight"]).contiguous()}
    with pytest.raises(AlarmError, match=r"Client 1 trains no more .* 100% of the rows of conv2\.weight"):
        client._load_shared(Reply(0, tensors={"weights": packed(trap)}))
