"""Many clients send requests for a long time: the server's memory stays flat, and every answer is right.

    .venv/bin/python -m tests.faults.soak [--transport zmq grpc] [--clients 32] [--minutes 10] [--pause-ms 0]

Every client begins a new session after 200 requests, so that a leak of a connection would add up too. The first
quarter of the time is warm-up, in which the memory of answers fills. Resident memory is read once a second; of the
tenths of what follows, the median of the last must lie within 5 % of that of the first.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from cutlayer.wire.connect import connect
from cutlayer.wire.transport import Timeouts
from tests.cloud_process import CloudProcess
from tests.faults.long_form import runs
from tests.tiny_split import edge_at, images, write_split

PATIENCE = Timeouts(connect_s=30.0, request_s=60.0)
REQUESTS_A_SESSION = 200
BATCHES = (1, 3, 40, 250)
"""Images in a request, in turn: from 288 bytes to 72 KB."""

WARM_UP, ALLOWED_GROWTH = 0.25, 0.05


class Soaked(NamedTuple):
    """The result of a soak.

    Attributes:
        answered: Number of answered requests.
        resident_bytes: Memory of the server: the median of each tenth of the time after warm-up.
    """

    answered: int
    resident_bytes: list[float]

    @property
    def growth(self) -> float:
        """Relative growth of the server's memory."""
        return self.resident_bytes[-1] / self.resident_bytes[0] - 1


def soak(folder: Path, transport: str, n_clients: int, seconds: float, pause_s: float = 0.0) -> Soaked:
    """Send requests from many clients for some seconds.

    Raises:
        WireError: A request was not answered.
        AssertionError: A request got the answer to another one, or the server did not end well.
    """
    write_split(folder)
    inputs = [images(n, seed) for seed, n in enumerate(BATCHES)]
    ended = threading.Event()
    resident: list[int] = []

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

    with CloudProcess(folder, f"{transport}://127.0.0.1:0") as cloud, ThreadPoolExecutor(n_clients) as pool:
        client = connect(cloud.address, PATIENCE)
        edge = edge_at(folder, client, timeouts=PATIENCE)
        expected = [edge.infer(batch, index)[0].copy() for index, batch in enumerate(inputs)]
        client.close()
        clients = [pool.submit(ask, cloud.address, expected) for _ in range(n_clients)]
        server, until = psutil.Process(cloud.pid), time.monotonic() + seconds
        try:
            while time.monotonic() < until and not any(client.done() for client in clients):
                resident.append(server.memory_info().rss)
                ended.wait(min(1.0, seconds / 100))
        finally:
            ended.set()
        answered = sum(client.result() for client in clients)
        assert cloud.stop() == 0, cloud.errors
    tenths = np.array_split(resident[int(len(resident) * WARM_UP) :], 10)
    return Soaked(answered, [float(np.median(tenth)) for tenth in tenths if tenth.size])


def main() -> None:
    """Print a line for each transport."""
    for transport, folder, options in runs(__doc__, clients=32, minutes=10.0, pause_ms=0.0):
        soaked = soak(folder, transport, options.clients, 60 * options.minutes, options.pause_ms / 1e3)
        series = " ".join(f"{tenth / 1e6:.1f}" for tenth in soaked.resident_bytes)
        print(
            f"{transport}: {options.clients} clients, {options.minutes:g} min, {soaked.answered:,} answers, "
            f"resident MB after warm-up {series} ({soaked.growth:+.1%})",
            flush=True,
        )
        assert soaked.growth < ALLOWED_GROWTH, "the server grew"


if __name__ == "__main__":
    main()
