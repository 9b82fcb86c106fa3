"""A recorded training is attacked afterwards: on the right samples, with what the party saw and with nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cutlayer
from cutlayer import cli
from cutlayer.errors import DataError
from cutlayer.experiment.leaks import attack
from cutlayer.privacy.transcripts import _index, _sent, parties
from cutlayer.protocols.cutting import pieces
from cutlayer.protocols.events import Event
from cutlayer.protocols.plan import load
from cutlayer.protocols.recording import Recording
from cutlayer.protocols.setup import prepare
from cutlayer.records import training
from cutlayer.records.training import Leak, TrainingRecord
from cutlayer.records.transcript import Transcript
from cutlayer.report.runs.page import write

PLAN: dict[str, Any] = {
    "data": "digits", "model": "lenet", "cut": "pool1", "protocol": "u-shaped", "end": "relu3", "clients": 2,
    "rounds": 2, "samples": 160, "test": 40, "record": True, "partition": {"name": "dirichlet", "alpha": 0.5},
}  # fmt: skip


def recorded(out: Path, **changes: Any) -> Path:
    """A training in one process whose server and first client recorded what they saw; return its folder."""
    plan = {key: value for key, value in (PLAN | changes).items() if value is not None}
    client = Recording(out / "client")

    def hear(event: Event) -> None:
        if event.client == 1 and event.name in ("sent", "learned", "delivered"):
            client(event)

    record = cutlayer.train(plan, out=out / "runs", compare=False, say=lambda text: None, on=hear)
    folder = out / "runs" / record.id
    (folder / "client-1").mkdir(exist_ok=True)
    (out / "client").rename(folder / "client-1" / training.TRANSCRIPT)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("u-shaped"))


@pytest.fixture(scope="module")
def vanilla(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("vanilla"), protocol="vanilla", end=None)


def leaks(folder: Path, *words: str) -> TrainingRecord:
    cli.app().cli(args=["leaks", str(folder), *words])
    return training.read(folder)


def run(record: TrainingRecord, **where: Any) -> list[Leak]:
    return [leak for leak in record.leaks if not leak.withheld and all(getattr(leak, k) == v for k, v in where.items())]


def test_the_truth_is_that_of_each_step(vanilla: Path) -> None:
    plan = load(vanilla / training.PLAN)
    setup = prepare(plan)
    assert parties(vanilla) == ["server", "client-1"]
    server = list(Transcript(vanilla / "server" / training.TRANSCRIPT).steps())
    for seen in server:
        assert np.array_equal(setup.train.labels[_index(setup, seen, at_client=False)], seen.labels)
    # The first step of a training comes from the head as it was before.
    first = next(seen for seen in server if (seen.client, seen.round, seen.step) == (1, 1, 0))
    head = pieces(plan, 1, setup.model(), setup.input, len(setup.classes)).head
    with torch.no_grad():
        assert np.allclose(head(torch.from_numpy(_sent(setup, [first]))).numpy(), first.smashed, atol=1e-6)
    other = prepare(load(vanilla / training.PLAN, {"samples": "150"}))
    with pytest.raises(DataError, match="is not that of this plan and these data"):
        _ = [_index(other, seen, at_client=False) for seen in server]


def test_the_server_of_a_u_shaped_training_reads_labels_from_gradients(folder: Path) -> None:
    record = leaks(folder, "--labels", "norm,direction,similarity,enumeration", "--inputs", "naive,fsha")
    found = run(record, party="server", target="labels")
    found_by = {(leak.attack, leak.round) for leak in found}
    assert found_by == {(a, r) for a in ("direction", "similarity") for r in (1, 2)}
    assert all(leak.accuracy > leak.majority + 0.2 for leak in found)
    withheld = {leak.attack: leak.withheld for leak in record.leaks if leak.withheld and leak.party == "server"}
    assert "tells two classes apart" in withheld["norm"]
    assert "other party's model" in withheld["enumeration"]
    assert "layers the clients keep" in withheld["naive"]
    assert "chooses the gradients" in withheld["fsha"]
    # What the client has itself is not attacked.
    assert [leak.withheld for leak in record.leaks if (leak.party, leak.target) == ("client-1", "inputs")] != []


def test_the_server_that_gets_labels_rebuilds_inputs(vanilla: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = leaks(vanilla, "--labels", "direction", "--inputs", "naive", "--steps", "60", "--party", "server")
    (found,) = run(record)
    assert (found.target, found.attack, found.round, found.steps) == ("inputs", "naive", 2, 60)
    assert 0 < found.mse < 0.2
    assert found.n <= 200
    shown = capsys.readouterr().out
    assert "naive" in shown
    assert "Not run: server, labels: nothing to infer" in shown
    # Another party joins; the same one again is replaced.
    record = leaks(vanilla, "--labels", "direction", "--party", "client-1")
    assert {leak.party for leak in record.leaks} == {"server", "client-1"}
    assert run(record, party="client-1", target="labels")[0].accuracy > 0.5
    page = write(vanilla.parent).read_text()
    assert "What each party can read from what it saw" in page
    assert "Not run: vanilla, server, labels: nothing to infer" in page


def test_what_is_not_there_is_said(tmp_path: Path, folder: Path) -> None:
    options = {"known": 1, "count": 10, "steps": 1, "data_root": None, "say": lambda text: None}
    with pytest.raises(DataError, match="is no folder of a training"):
        attack(tmp_path, [], {}, {}, **options)
    with pytest.raises(DataError, match="holds no transcript of 'client-2'; those of server, client-1 are there"):
        attack(folder, ["client-2"], {}, {}, **options)
