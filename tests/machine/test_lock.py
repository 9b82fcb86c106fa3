"""One process at a time, and the next one hears of whom it waits for."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from cutlayer.errors import BusyError, WriteError
from cutlayer.machine.lock import only_one

HOLDS = """
import sys, time
from pathlib import Path
from cutlayer.machine.lock import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held(path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_who_holds_the_lock_and_a_killed_one_holds_it_no_longer(tmp_path):
    path = tmp_path / "run"
    with held(path) as process:
        known = rf"run is in use by process {process.pid} on \S+ since \d{{4}}-"
        with pytest.raises(BusyError, match=known) as busy, only_one(path):
            pass
        assert os.uname().nodename in str(busy.value)
        process.kill()
        process.wait()
        with only_one(path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_whoever_waits_gets_it_after_the_other_and_nobody_else_meanwhile(tmp_path):
    path, said, inside, most = tmp_path / "run", [], 0, 0

    def work():
        nonlocal inside, most
        for _ in range(20):
            with only_one(path, say=said.append):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert all(f"is in use by process {os.getpid()}" in line or "another process" in line for line in said)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_inside_a_folder_leaves_the_folder_as_it_was(tmp_path):
    with only_one(tmp_path / "new" / "deep", inside=True):
        assert (tmp_path / "new" / "deep" / ".lock").exists()
    assert not (tmp_path / "new" / "deep").exists()
    (tmp_path / "old").mkdir()
    with only_one(tmp_path / "old", inside=True):
        (tmp_path / "old" / "result").touch()
    assert os.listdir(tmp_path / "old") == ["result"]


def test_what_stands_in_a_lock_of_another_is_no_danger(tmp_path):
    path = tmp_path / "run"
    (tmp_path / ".run.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(WriteError, match="it is a link"), only_one(path):
        pass
    assert not (tmp_path / "victim").exists()
    (tmp_path / ".run.lock").unlink()
    for content in (b"", b"\xff", b"[]", b'{"pid": "x"}', b"[" * 2000):
        with held(path):
            (tmp_path / ".run.lock").write_bytes(content)
            with pytest.raises(BusyError, match="in use by another process"), only_one(path):
                pass
        (tmp_path / ".run.lock").unlink()
