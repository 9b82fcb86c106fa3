"""Both commands are stopped as a service manager or a person stops them, and say what they have done."""

import re
import signal
import subprocess
import sys
import time

import pytest

from tests.cloud_process import CloudProcess
from tests.edge_process import heeds_ctrl_c
from tests.tiny_split import SMASHED


def edge(folder, address, *options):
    command = [sys.executable, "-m", "cutlayer.cli", "edge", folder, "--connect", address, "--data", "random", *options]
    return subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeds_ctrl_c
    )


def stopped(process, tap, with_signal):
    """Stop the device once several requests have arrived; return its exit code and output."""
    until = time.monotonic() + 60
    while sum(path.stat().st_size for path in tap.iterdir()) < 10 * SMASHED.nbytes:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(with_signal)
    out, err = process.communicate(timeout=60)
    assert err == ""
    return process.returncode, out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_ends_with_the_summary(folder, tmp_path, number):
    with CloudProcess(folder, "zmq://127.0.0.1:0", tmp_path / "tap", ("--durable",)) as cloud:
        options = ("--loop", "--rate", 200, "--warmup", 0)
        code, out = stopped(edge(folder, cloud.address, *options), tmp_path / "tap", number)
        assert code == 0
        assert re.search(r"\(n = \d+\)", out)
        assert "due 200 per second" in out


def test_a_run_that_is_stopped_early_says_what_it_has_measured_and_so_does_the_server(folder, tmp_path):
    with CloudProcess(folder, "grpc://127.0.0.1:0", tmp_path / "tap", ("--durable",)) as cloud:
        code, out = stopped(edge(folder, cloud.address, "--rate", 50, "--warmup", 0), tmp_path / "tap", signal.SIGTERM)
        assert code == 143
        assert "(until the run ended early)" in out
        (n,) = re.findall(r"\(n = (\d+)\)", out)
        cloud._process.terminate()
        served, _ = cloud._process.communicate(timeout=60)
        (answered,) = re.findall(rb"answered (\d+) requests, .* over 1 connections", served)
        # One for the first request, and one may be unanswered at the stop.
        assert 0 <= int(answered) - int(n) - 1 <= 1
        assert re.fullmatch(r"127\.0\.0\.1:\d+ is connected\n", cloud.errors)
