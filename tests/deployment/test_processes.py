import pytest

from cutlayer.deployment import processes
from cutlayer.errors import Unreachable
from tests.tiny_split import write_split


def test_a_cloud_that_does_not_start_is_said_in_its_own_words(tmp_path):
    refused = pytest.raises(Unreachable, match=r"The cloud did not get ready: .*is no split folder")
    with refused, processes.cloud(tmp_path / "absent", "--listen", "zmq://127.0.0.1:0"):
        pass


def test_an_edge_that_fails_is_said_in_its_own_words(tmp_path):
    with pytest.raises(Unreachable, match=r"The edge failed: .*is no split folder"):
        processes.edge(tmp_path / "absent", "--connect", "zmq://127.0.0.1:1")


def test_a_cloud_is_not_stopped_by_what_it_prints(tmp_path, monkeypatch):
    """Many more bytes than a pipe holds."""
    written = "print('x' * 1000000, 'last words', sep='\\n', file=sys.stderr)"
    code = f"import sys, time\n{written}\nprint('ready zmq://here', flush=True)"
    monkeypatch.setattr(processes, "_TIED", f"{code}\ntime.sleep(60)")
    with processes.cloud(tmp_path) as address:
        assert address == "zmq://here"
    monkeypatch.setattr(processes, "_TIED", code.replace("ready", "not"))
    with pytest.raises(Unreachable, match="The cloud did not get ready: last words"), processes.cloud(tmp_path):
        pass


def test_a_cloud_serves_until_the_block_ends(tmp_path):
    write_split(tmp_path / "split")
    with processes.cloud(tmp_path / "split", "--listen", "zmq://127.0.0.1:0") as address:
        assert address.startswith("zmq://127.0.0.1:")
