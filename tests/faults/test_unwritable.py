"""Whether one may write there is found out before the work, by every command that writes."""

import errno
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from cutlayer import cli
from cutlayer.cloud.service import Service
from cutlayer.edge.client import Edge
from cutlayer.edge.requests import Recorder
from cutlayer.edge.send import send
from cutlayer.errors import Unreachable, WriteError
from cutlayer.split_folder import open_split
from cutlayer.stopping import Stopped
from cutlayer.wire.connect import listen
from tests.faults.test_full_disk import GOLDEN
from tests.tiny_split import write_split

COMMANDS = {
    "run": ("run", "PLAN", "--out", "{there}/runs"),
    "demo": ("demo", "--out", "{there}/runs"),
    "report": ("report", "{there}"),
    "record": ("edge", "{split}", "--data", "random", "--record", "{there}/record.npz"),
    "queue": ("edge", "{split}", "--data", "random", "--on-offline", "queue", "--queue", "{there}/queue"),
    "tap": ("cloud", "{split}", "--listen", "zmq://127.0.0.1:0", "--tap", "{there}/tap"),
    "certs": ("certs", "init", "{there}/certs"),
    "profile": ("profile", "{split}", "--out", "{there}/profile"),
    "split": ("split", "he_lenet", "--cut", "conv1", "--epochs", "0", "--out", "{there}/split"),
    "quantize": ("quantize", "{split}", "--data", "random", "--out", "{there}/split"),
}
PLAN = Path(__file__).parents[2] / "experiments" / "demo.toml"


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder with a finished run, which may not be written; for root, too, who may write everywhere."""
    folder = tmp_path / "there"
    shutil.copytree(GOLDEN / "run", folder / "run")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: allowed(path, mode) and not Path(path).is_relative_to(folder))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_may_not_be_written_is_one_sentence_before_the_work(there, tmp_path, command):
    write_split(tmp_path / "split")
    before = sorted(tmp_path.rglob("*"))
    words = [word.format(there=there, split=tmp_path / "split") for word in COMMANDS[command]]
    sentence = rf"{there}/\S+ cannot be written: permission denied in {there}; name a place where you may write\."
    with pytest.raises(WriteError, match=sentence):
        cli.app().cli(args=[str(PLAN) if word == "PLAN" else word for word in words])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("why", [None, Stopped(15), Unreachable("gone")], ids=["end", "stopped", "failed"])
def test_what_was_measured_is_not_lost_with_the_record(tmp_path, monkeypatch, why):
    """It stands in a note, which the command prints; the exit code is that of what ended the run."""

    def full(_, path):
        raise WriteError.of(path, OSError(errno.ENOSPC, "No space left on device"))

    infer, calls = Edge.infer, []

    def ends_in_time(*arguments):
        calls.append(None)
        if why is not None and len(calls) == 3:
            raise why
        return infer(*arguments)

    monkeypatch.setattr(Recorder, "save", full)
    monkeypatch.setattr(Edge, "infer", ends_in_time)
    manifest = write_split(tmp_path / "split")
    service = Service(manifest, open_split(tmp_path / "split").tail(threads=1))
    with closing(listen("zmq://127.0.0.1:0", service)) as server, pytest.raises(type(why or WriteError(""))) as ended:
        send(tmp_path / "split", str(server.address), data="random", count=5, warmup=0, record=tmp_path / "r.npz")
    notes = "\n".join(ended.value.__notes__)
    assert f"(n = {2 if why else 5})" in notes
    assert "r.npz cannot be written: no space left on device" in f"{notes}\n{ended.value}"
