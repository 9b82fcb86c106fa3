"""Trainings on this machine, from the plan to the record: in one process, and with a process for each party."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import cutlayer
from cutlayer.cloud.training.serve import serve
from cutlayer.data.partition import check_complete, digest
from cutlayer.deployment.training import in_process
from cutlayer.deployment.training_processes import Supervised, of_a_client, of_the_server, pass_on
from cutlayer.edge.training.session import AGAIN
from cutlayer.errors import ConfigError, Refused
from cutlayer.protocols.events import Event
from cutlayer.protocols.plan import load, parse
from cutlayer.protocols.setup import prepare
from cutlayer.records import training
from cutlayer.stopping import Stopped

PLAN: dict[str, Any] = {
    "data": "digits", "model": "lenet", "cut": "pool1", "protocol": "splitfed-v2", "clients": 3, "rounds": 2,
    "samples": 240, "test": 100, "partition": {"name": "dirichlet", "alpha": 0.3},
}  # fmt: skip


def trained(out: Path, **changes: Any) -> training.TrainingRecord:
    return cutlayer.train(PLAN | changes, out=out, compare=False, say=lambda text: None)


def test_a_training_leaves_its_plan_its_partition_and_its_rounds(tmp_path: Path) -> None:
    said: list[str] = []
    record = cutlayer.train(PLAN, out=tmp_path, say=said.append)
    folder = tmp_path / record.id
    assert record.finished
    assert training.read(folder) == record
    assert load(folder / training.PLAN) == parse(PLAN)
    indices = training.read_partition(folder)
    check_complete(indices, 240)
    assert digest(indices) == record.digest
    assert [sum(held) for held in record.held] == [len(part) for part in indices]
    assert [entry.round for entry in record.rounds] == [1, 2]
    for entry in record.rounds:
        assert entry.accuracy is not None
        assert entry.accuracy.n == 100
        assert len(entry.by_client) == 3
        assert entry.sent("up") > entry.sent("down") > 0
        assert {"up smashed", "up labels", "up weights", "down gradient", "down weights"} <= entry.traffic.keys()
        assert all(client.busy_s > 0 for client in entry.clients)
    assert record.local is not None
    assert 0 < record.majority < 0.3
    assert any("ACCURACY" in text for text in said)
    assert (folder / "env.json").exists()
    # The first rounds' smashed data, behind one convolution and a pooling, give most of the picture away.
    assert [found.round for found in record.leakage] == [1, 2]
    assert all(found.gain.value > 0.3 for found in record.leakage)
    assert list(training.models(folder)) == [1, 2]
    # What was trained for comparison lies apart, and is found again.
    assert [path.name for path in (tmp_path / "baselines").iterdir() if path.is_dir()] != []


def test_a_finished_plan_is_not_trained_again(tmp_path: Path) -> None:
    first = trained(tmp_path)
    said: list[str] = []
    assert cutlayer.train(PLAN, out=tmp_path, compare=False, say=said.append) == first
    assert "finished" in said[0]


def test_a_callback_hears_the_server_and_the_clients(tmp_path: Path) -> None:
    heard: list[Event] = []
    cutlayer.train(PLAN, out=tmp_path, compare=False, on=heard.append, say=lambda text: None)
    names = {event.name for event in heard}
    assert {"sent", "received", "answered", "learned", "collected", "averaged", "measured", "round"} <= names
    assert {event.client for event in heard if event.name == "sent"} == {1, 2, 3}


class Stop(Exception):
    """Ends a training in the middle, as a crash would."""


def test_an_interrupted_training_goes_on_only_if_asked_to_and_ends_with_the_same_record(tmp_path: Path) -> None:
    undisturbed = trained(tmp_path / "whole", rounds=3)

    def crash(event: Event) -> None:
        if event.name == "answered" and event.round == 3:
            raise Stop

    with pytest.raises(Exception):  # noqa: B017, PT011  whoever notices first
        cutlayer.train(
            PLAN | {"rounds": 3}, out=tmp_path / "torn", compare=False, on=crash, say=lambda text: None
        )  # fmt: skip
    with pytest.raises(ConfigError, match=r"stopped after 2 of 3 rounds: go on with --resume"):
        trained(tmp_path / "torn", rounds=3)
    resumed = cutlayer.train(
        PLAN | {"rounds": 3}, out=tmp_path / "torn", resume=True, compare=False, say=lambda text: None
    )  # fmt: skip
    assert resumed.finished
    assert [entry.accuracy for entry in resumed.rounds] == [entry.accuracy for entry in undisturbed.rounds]
    assert [entry.loss for entry in resumed.rounds] == [entry.loss for entry in undisturbed.rounds]
    assert [entry.traffic for entry in resumed.rounds] == [entry.traffic for entry in undisturbed.rounds]


def test_a_training_that_diverges_says_at_which_client(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"diverged: .* at client \d"):
        trained(tmp_path, optimizer={"name": "sgd", "lr": 1000.0}, rounds=4)


def test_the_local_baseline_is_the_training_of_each_client_alone(tmp_path: Path) -> None:
    """One client's own accuracy is that of a training with its samples alone."""
    setup = prepare(parse(PLAN | {"protocol": "local", "evaluate_rounds": 2}))
    record = in_process(setup, tmp_path)
    assert record.last is not None
    assert record.last.mean > record.last.accuracy.value  # type: ignore[union-attr]
    assert record.traffic.keys() == {"up evaluation"}


def kill_one(folder: Path, killed: list[int]) -> None:
    """Kill the process of client 2 once its first checkpoint is there."""
    until = time.monotonic() + 200
    while time.monotonic() < until and not list(folder.glob("*/client-2/round-1")):
        time.sleep(0.05)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"2/10" in words and str(folder).encode() in words:
            os.kill(int(path.parent.name), signal.SIGKILL)
            killed.append(int(path.parent.name))
            return


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["zmq", "grpc"])
def test_ten_processes_one_of_them_killed_end_with_the_record_of_one_process(tmp_path: Path, transport: str) -> None:
    plan = PLAN | {"clients": 10, "rounds": 3, "samples": 400, "partition": {"name": "iid"}}
    whole = cutlayer.train(plan, out=tmp_path / "whole", compare=False, say=lambda text: None)
    path = tmp_path / "whole" / whole.id / training.PLAN
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(tmp_path / "apart", killed))
    killer.start()
    words = ["train", path, "--out", tmp_path / "apart", "--transport", transport, "--no-compare"]
    done = subprocess.run([sys.executable, "-m", "cutlayer.cli", *map(str, words)], capture_output=True, text=True)
    killer.join()
    assert done.returncode == 0, done.stderr
    assert killed
    assert "client 2 was ended by SIGKILL; it is started again" in done.stderr
    apart = training.read(tmp_path / "apart" / whole.id)
    assert [entry.accuracy for entry in apart.rounds] == [entry.accuracy for entry in whole.rounds]
    assert [entry.loss for entry in apart.rounds] == [entry.loss for entry in whole.rounds]
    assert all(client.rss_bytes for entry in apart.rounds for client in entry.clients if client.busy_s > 0)
    ends = [training.models(tmp_path / name / whole.id)[3].read_bytes() for name in ("whole", "apart")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_before_the_end_says_so_and_does_not_end_as_a_finished_one(
    tmp_path: Path, number: signal.Signals
) -> None:
    said: list[str] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        with pytest.raises(Stopped) as caught:
            serve(
                parse(PLAN), "zmq://127.0.0.1:0", out=tmp_path, data_root=None, resume=False, told=lambda entry: None,
                ready=lambda address, record: signal.raise_signal(number), say=said.append,
            )  # fmt: skip
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert caught.value.number == number
    assert said == [
        "The server was stopped after round 0 of 2; started again by the same command with --resume, it goes on."
    ]


def test_what_the_parties_say_while_they_wait_is_passed_on_and_in_their_logs(tmp_path: Path) -> None:
    (tmp_path / "0.txt").write_text("of an earlier run\n")
    server = Supervised("the server", tmp_path / "0.txt", of_the_server)
    clients = [Supervised(f"client {k}", tmp_path / f"{k}.txt", of_a_client) for k in (1, 2)]
    waits = "Clients 1, 3 wait for client 2 in round 3, silent for 31 s."
    with (tmp_path / "0.txt").open("a") as log:
        log.write(f"127.0.0.1:7 is connected\n{waits}\ncutlayer: The training diverged.\nhalf a l")
    for k in (1, 2):
        (tmp_path / f"{k}.txt").write_text(f"client {k}/2: trained in round 1/3\nIt is away. {AGAIN} 600 s.\n")
    said: list[str] = []
    pass_on((server, *clients), said.append)
    assert said == [f"the server: {waits}", f"client 1, client 2: It is away. {AGAIN} 600 s."]
    with (tmp_path / "0.txt").open("a") as log:
        log.write("ine\n")
    pass_on((server, *clients), said.append)
    assert said[2:] == ["the server: half a line"]


def test_an_alarm_is_said_and_recorded(tmp_path: Path) -> None:
    said: list[str] = []
    # Any suspicion is an alarm here.
    detectors = [{"name": "gap", "threshold": 0.0}, "scrutinizer"]
    plan = PLAN | {"clients": 2, "rounds": 1, "samples": 120, "detectors": detectors}
    record = cutlayer.train(plan, out=tmp_path, compare=False, say=said.append)
    assert record.detectors == ("gap threshold=0.0", "scrutinizer")
    assert {(alarm.client, alarm.detector, alarm.round) for alarm in record.alarms} == {
        (k, "gap threshold=0.0", 1) for k in (1, 2)
    }
    assert training.read(tmp_path / record.id) == record
    [line] = [text for text in said if text.startswith("client 1: the detector gap threshold=0.0 suspects the server")]
    assert of_a_client(line)
    assert any("Detectors of the clients: alarm at client" in text for text in said)
