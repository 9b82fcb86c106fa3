"""The longest call of a frame while the server is away, slow, or behind a queue that is being sent.

    .venv/bin/python benchmarks/offline_frames.py SPLIT [--seconds 15] [--rate 10] [--network lte]

Device and server are two processes on loopback, and frames come at a fixed rate. The situations:

refused         nothing listens at the port
dropped         nobody answers the SYN
silent          the connection is accepted, and nothing is ever answered
falls silent    the server stops answering after a third of the time (SIGSTOP), and goes on after two thirds
killed          the server is killed after a third of the time
long queue      a server behind an emulated network, with a thousand requests of an earlier run in the queue
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from cutlayer.defenses.base import deployed
from cutlayer.edge.client import Edge
from cutlayer.edge.offline.policy import OfflinePolicy, Policy
from cutlayer.edge.offline.replay import open_offline
from cutlayer.edge.pipeline import Pipeline
from cutlayer.network.profiles import network_named
from cutlayer.network.shaper import shaped
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect
from cutlayer.wire.transport import Timeouts

WAITING = 1000


def nothing() -> None:
    """Let the server be."""


class Situation(NamedTuple):
    """Where the server is, and what happens to it after one and two thirds of the time."""

    address: str
    first: Callable[[], None] = nothing
    second: Callable[[], None] = nothing


@contextlib.contextmanager
def nobody(scheme: str, split: Path, network: str) -> Iterator[Situation]:
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    yield Situation(f"{scheme}://127.0.0.1:{port}")


@contextlib.contextmanager
def dropped(scheme: str, split: Path, network: str) -> Iterator[Situation]:
    """A port whose queue of connections is full, so that the kernel drops every SYN."""
    with contextlib.ExitStack() as opened:
        full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = opened.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield Situation(f"{scheme}://127.0.0.1:{full.getsockname()[1]}")


@contextlib.contextmanager
def silent(scheme: str, split: Path, network: str) -> Iterator[Situation]:
    """A port that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield Situation(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")


@contextlib.contextmanager
def cloud(scheme: str, split: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process of its own."""
    words = [sys.executable, "-m", "cutlayer.cli", "cloud", split, "--listen", f"{scheme}://127.0.0.1:0"]
    process = subprocess.Popen([*map(str, words), "--threads", "1"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1], process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def falls_silent(scheme: str, split: Path, network: str) -> Iterator[Situation]:
    """A server that is stopped and goes on later."""
    with cloud(scheme, split) as (address, process):
        stop, go_on = (lambda number=number: process.send_signal(number) for number in (signal.SIGSTOP, signal.SIGCONT))
        yield Situation(address, stop, go_on)


@contextlib.contextmanager
def killed(scheme: str, split: Path, network: str) -> Iterator[Situation]:
    """A server that is killed."""
    with cloud(scheme, split) as (address, process):
        yield Situation(address, process.kill)


@contextlib.contextmanager
def behind(scheme: str, split: Path, network: str) -> Iterator[Situation]:
    """A server behind an emulated network."""
    with cloud(scheme, split) as (address, _), shaped(address, network_named(network)) as (through, _):
        yield Situation(through)


SITUATIONS = {
    "refused": nobody,
    "dropped": dropped,
    "silent": silent,
    "falls silent": falls_silent,
    "killed": killed,
    "long queue": behind,
}


def calls_ms(split: Path, address: Situation, do: Policy, queue: Path, seconds: float, rate: float) -> list[float]:
    """Make frames at a rate; return the duration of each call in ms."""
    opened, timeouts = open_split(split), Timeouts()
    head = opened.head()
    pipeline = Pipeline(head, deployed(opened), codec_named("raw"))
    transport = connect(address.address, timeouts)
    edge = Edge(opened.manifest, pipeline, transport, timeouts, greet=False)
    offline = open_offline(OfflinePolicy(do, queue), edge, opened, timeouts, head, 1)
    image = np.random.default_rng(0).random((1, *opened.manifest.input.shape), np.float32)
    events = [threading.Timer(seconds * i / 3, act) for i, act in ((1, address.first), (2, address.second))]
    for event in events:
        event.start()
    took: list[float] = []
    start = time.monotonic()
    index = 0
    while (due := start + index / rate) < start + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.monotonic_ns()
        offline.infer(image, index)
        took.append((time.monotonic_ns() - began) / 1e6)
        # A camera does not wait: frames that came during the call are gone.
        index = max(index + 1, int((time.monotonic() - start) * rate))
    for event in events:
        event.join()
    offline.close(transport)
    return took


def fill(split: Path, queue: Path, n: int) -> None:
    """Leave requests of an earlier run in the queue."""
    opened, timeouts = open_split(split), Timeouts(connect_s=0.1)
    head = opened.head()
    transport = connect("zmq://127.0.0.1:9", timeouts)
    edge = Edge(opened.manifest, Pipeline(head, deployed(opened), codec_named("raw")), transport, timeouts, greet=False)
    offline = open_offline(OfflinePolicy("queue", queue), edge, opened, timeouts, head, 1)
    image = np.random.default_rng(0).random((1, *opened.manifest.input.shape), np.float32)
    for index in range(n):
        offline.infer(image, index)
    offline.close(transport)


def main(
    split: tyro.conf.Positional[Path], seconds: float = 15.0, rate: float = 10.0, network: str = "lte",
    transports: tuple[str, ...] = ("grpc", "zmq"), policies: tuple[Policy, ...] = ("queue", "drop"),
    situations: tuple[str, ...] = tuple(SITUATIONS),
) -> None:  # fmt: skip
    """Print one row for each situation, policy and transport."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    print(
        f"{'situation':<14}{'policy':<8}{'transport':<11}{'frames':>7}{'longest ms':>12}{'second ms':>11}{'p50 ms':>9}"
    )
    for name in situations:
        for do in policies:
            for scheme in transports:
                if name == "long queue" and do != "queue":
                    continue
                with tempfile.TemporaryDirectory() as scratch, SITUATIONS[name](scheme, split, network) as address:
                    queue = Path(scratch) / "queue"
                    if name == "long queue":
                        fill(split, queue, WAITING)
                    took = sorted(calls_ms(split, address, do, queue, seconds, rate))
                second = f"{took[-2]:,.1f}" if len(took) > 1 else "-"
                row = f"{len(took):>7}{took[-1]:>12,.1f}{second:>11}{took[len(took) // 2]:>9.2f}"
                print(f"{name:<14}{do:<8}{scheme:<11}{row}", flush=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
