import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from cutlayer.machine.footprint import allocated_bytes, peak_rss_bytes, sent_bytes


def test_sent_bytes_counts_one_port_and_leaves_no_file_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as accepted:
            before, open_files = sent_bytes(port), len(os.listdir("/dev/fd"))
            if before is None:
                pytest.skip("this kernel does not say")
            client.sendall(b"x" * 5000)
            assert len(accepted.recv(5000, socket.MSG_WAITALL)) == 5000
            assert sent_bytes(port) - before == 5000
            assert len(os.listdir("/dev/fd")) == open_files
    assert sent_bytes(1) is None


def test_peak_memory_grows_with_an_array():
    before = peak_rss_bytes()
    held = np.ones(32 << 20, np.uint8)
    assert peak_rss_bytes() >= before
    assert peak_rss_bytes() > held.nbytes


FORGETS = """
import numpy as np
from cutlayer.machine.footprint import peak_rss_bytes, restart_peak_rss
held = np.ones(256 << 20, np.uint8)
before = peak_rss_bytes()
del held
restart_peak_rss()
print(before, peak_rss_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak")
def test_a_peak_can_be_forgotten():
    # In a process of its own: the peak of this one may be that of another test, far above what it holds now.
    done = subprocess.run([sys.executable, "-c", FORGETS], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    if after == before:
        pytest.skip("this kernel does not let it")
    assert before - after > 128 << 20


def test_peak_memory_is_not_the_parents():
    held = np.ones(256 << 20, np.uint8)
    code = "from cutlayer.machine.footprint import peak_rss_bytes; print(peak_rss_bytes())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(child.stdout) < held.nbytes


def test_allocated_bytes_are_those_in_use():
    before = allocated_bytes()
    if before is None:
        pytest.skip("this C library does not say")
    held = [bytes(100_000) for _ in range(100)]
    assert 10_000_000 <= allocated_bytes() - before < 12_000_000
    held.clear()
    assert allocated_bytes() - before < 1_000_000
