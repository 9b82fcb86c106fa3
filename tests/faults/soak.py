"""Many clients send requests for a long time: what the server uses stays flat, and every answer is right.

    .venv/bin/python -m tests.faults.soak [--transport zmq grpc] [--clients 32] [--minutes 10] [--pause-ms 0]

Every client begins a new session after 200 requests, so that a leak of a connection would add up too. Once a second,
the server says through its metrics how many bytes its C library has given out, how many blocks Python has, and how many
bytes its memory of answers takes; the kernel says how much is resident. While the memory of answers fills, all of them
grow. So the first quarter of the time is warm-up, and what came before this memory was full does not count either. What
follows is taken in tenths, by their medians. Over gRPC, bytes in use rise and fall like a saw, by 8 % within some
minutes, and Python's blocks with them. So the mean of the last five tenths is compared with that of the first five:
bytes in use and blocks may grow by 2 %, because what leaks shows there; resident memory by 15 %, because it moves with
the free space that the allocator keeps.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from cutlayer.cloud.replies import MAX_BYTES
from cutlayer.wire.connect import connect
from cutlayer.wire.transport import Timeouts
from tests.cloud_process import CloudProcess
from tests.faults.long_form import runs
from tests.tiny_split import edge_at, images, write_split

PATIENCE = Timeouts(connect_s=30.0, request_s=60.0)
REQUESTS_A_SESSION = 200
BATCHES = (1, 3, 40, 250)
"""Images in a request, in turn: from 288 bytes to 72 KB."""

WARM_UP, FULL = 0.25, 0.97
"""Part of the time that does not count, and of the memory of answers from which on it is full."""

ALLOWED_GROWTH = {"in use": 0.02, "blocks": 0.02, "resident": 0.15}
LEAST_SAMPLES = 20
"""Samples without which growth cannot be told."""


class Used(NamedTuple):
    """What the server uses at one time: bytes in use, blocks of Python, resident bytes, bytes of answers."""

    in_use: float
    blocks: float
    resident: float
    remembered: float


class Soaked(NamedTuple):
    """The result of a soak.

    Attributes:
        answered: Number of answered requests.
        samples: What the server used, once a second.
    """

    answered: int
    samples: list[Used]

    @property
    def tenths(self) -> dict[str, list[float]]:
        """Each series that counts, as the medians of ten parts; none if the memory of answers was not full in time."""
        counted = [used for used in self.samples[int(len(self.samples) * WARM_UP) :] if _is_full(used)]
        if len(counted) < LEAST_SAMPLES:
            return {}
        series = zip(ALLOWED_GROWTH, zip(*counted, strict=True), strict=False)
        return {name: [float(np.median(part)) for part in np.array_split(values, 10)] for name, values in series}


def _is_full(used: Used) -> bool:
    return used.remembered >= FULL * MAX_BYTES


def soak(folder: Path, transport: str, n_clients: int, seconds: float, pause_s: float = 0.0) -> Soaked:
    """Send requests from many clients for some seconds.

    Raises:
        WireError: A request was not answered.
        AssertionError: A request got the answer to another one, or the server did not end well.
    """
    write_split(folder)
    inputs = [images(n, seed) for seed, n in enumerate(BATCHES)]
    ended = threading.Event()
    samples: list[Used] = []

    def ask(address: str, expected: list[np.ndarray]) -> int:
        answered = 0
        while not ended.is_set():
            client = connect(address, PATIENCE)
            try:
                edge = edge_at(folder, client, timeouts=PATIENCE)
                for index in range(REQUESTS_A_SESSION):
                    number = index % len(inputs)
                    np.testing.assert_allclose(edge.infer(inputs[number], index)[0], expected[number], atol=1e-4)
                    answered += 1
                    if ended.wait(pause_s):
                        break
            finally:
                client.close()
        return answered

    options = ("--metrics", "127.0.0.1:0")
    with (
        CloudProcess(folder, f"{transport}://127.0.0.1:0", options=options) as cloud,
        ThreadPoolExecutor(n_clients) as pool,
    ):
        client = connect(cloud.address, PATIENCE)
        edge = edge_at(folder, client, timeouts=PATIENCE)
        expected = [edge.infer(batch, index)[0].copy() for index, batch in enumerate(inputs)]
        client.close()
        clients = [pool.submit(ask, cloud.address, expected) for _ in range(n_clients)]
        server, until = psutil.Process(cloud.pid), time.monotonic() + seconds
        try:
            while time.monotonic() < until and not any(client.done() for client in clients):
                samples.append(_used(cloud.metrics, server))
                ended.wait(min(1.0, seconds / 100))
        finally:
            ended.set()
        answered = sum(client.result() for client in clients)
        assert cloud.stop() == 0, cloud.errors
    return Soaked(answered, samples)


def _used(metrics: str, server: psutil.Process) -> Used:
    with urllib.request.urlopen(metrics, timeout=30) as page:
        gauges = dict(line.rsplit(" ", 1) for line in page.read().decode().splitlines())
    in_use, blocks, remembered = (
        float(gauges[f"cutlayer_{name}"]) for name in ("allocated_bytes", "python_blocks", "remembered_bytes")
    )
    return Used(in_use, blocks, server.memory_info().rss, remembered)


def main() -> None:
    """Print a line for each transport, and one for each series."""
    grown = []
    for transport, folder, options in runs(__doc__, clients=32, minutes=10.0, pause_ms=0.0):
        soaked = soak(folder, transport, options.clients, 60 * options.minutes, options.pause_ms / 1e3)
        full_s = next((second for second, used in enumerate(soaked.samples) if _is_full(used)), None)
        print(
            f"{transport}: {options.clients} clients, {options.minutes:g} min, {soaked.answered:,} answers; "
            f"{len(soaked.samples)} samples, the memory of answers was full "
            + ("at none of them" if full_s is None else f"from number {full_s} on")
            + ("" if soaked.tenths else ", too late to tell growth"),
            flush=True,
        )
        for name, tenths in soaked.tenths.items():
            before, after = np.mean(tenths[:5]), np.mean(tenths[5:])
            growth = after / before - 1 if before else 0.0
            unit = "thousand" if name == "blocks" else "MB"
            scale = 1e3 if name == "blocks" else 1e6
            print(f"  {name}, {unit}: {' '.join(f'{t / scale:.1f}' for t in tenths)} ({growth:+.1%})", flush=True)
            if growth > ALLOWED_GROWTH[name]:
                grown.append(f"{transport}: {name} grew by {growth:.1%}")
    assert not grown, "\n".join(grown)


if __name__ == "__main__":
    main()
