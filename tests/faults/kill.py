"""A server is killed again and again under its clients: each request is answered, and recorded once.

    .venv/bin/python -m tests.faults.kill [--transport zmq] [--requests 2000] [--kills 20] [--in-flight 4]

The tap is durable: it holds a request before its answer leaves.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cutlayer.cloud.tap import read
from cutlayer.wire.connect import connect
from cutlayer.wire.retry import Retry
from cutlayer.wire.transport import Timeouts
from tests.cloud_process import CloudProcess
from tests.faults.long_form import runs
from tests.tiny_split import edge_at, images, write_split

PATIENCE = Timeouts(connect_s=30.0, request_s=60.0)
PERSISTENCE = Retry(attempts=100)


class Survived(NamedTuple):
    """The result of a run with kills.

    Attributes:
        answered: Number of requests with the right answer.
        recorded: Number of records of each request in the tap.
    """

    answered: int
    recorded: Counter[str]


def survive(folder: Path, transport: str, n_requests: int, n_kills: int, in_flight: int, seed: int = 0) -> Survived:
    """Send requests from `in_flight` threads, and kill the server meanwhile.

    Raises:
        WireError: A request was not answered.
        AssertionError: A request got the answer to another one.
    """
    write_split(folder / "split")
    inputs = images(in_flight)
    numbers = itertools.count()
    # At random places within equal parts of the run, so that kills meet every stage of a request.
    rng = np.random.default_rng(seed)
    kill_at = [int((part + rng.random()) * n_requests / n_kills) for part in range(n_kills)]
    progress, n_begun = threading.Condition(), 0

    def ask(number: int) -> int:
        answered = 0
        try:
            for index in numbers:
                if index >= n_requests:
                    break
                begin(1)
                logits, _ = edge.infer(inputs[number : number + 1], index)
                np.testing.assert_array_equal(logits, expected[number : number + 1])
                answered += 1
        finally:
            begin(n_requests)
        return answered

    def begin(n: int) -> None:
        nonlocal n_begun
        with progress:
            n_begun += n
            progress.notify_all()

    with CloudProcess(folder / "split", f"{transport}://127.0.0.1:0", folder / "tap", ("--durable",)) as cloud:
        client = connect(cloud.address, PATIENCE, retry=PERSISTENCE)
        try:
            edge = edge_at(folder / "split", client, timeouts=PATIENCE)
            expected = np.concatenate([edge.infer(inputs[i : i + 1], n_requests + i)[0] for i in range(in_flight)])
            with ThreadPoolExecutor(in_flight) as pool:
                clients = [pool.submit(ask, number) for number in range(in_flight)]
                for place in kill_at:
                    with progress:
                        progress.wait_for(lambda place=place: n_begun > place, PATIENCE.request_s)
                    # A request takes about a millisecond, so this is a random place within one.
                    time.sleep(float(rng.random()) * 2e-3)
                    cloud.kill()
                    cloud.start()
                answered = sum(client.result() for client in clients)
        finally:
            client.close()
        assert cloud.stop() == 0, cloud.errors
    recorded = Counter(header["id"] for header, _ in read(folder / "tap"))
    ids = {edge.request_id(index) for index in range(n_requests)}
    return Survived(answered, Counter({id: n for id, n in recorded.items() if id in ids}))


def main() -> None:
    """Print a line for each transport."""
    for transport, folder, options in runs(__doc__, requests=2000, kills=20, in_flight=4, seed=0):
        start = time.monotonic()
        survived = survive(folder, transport, options.requests, options.kills, options.in_flight, options.seed)
        times = Counter(survived.recorded.values())
        print(
            f"{transport}: {survived.answered:,} of {options.requests:,} answered over {options.kills} kills, "
            f"{times[1]:,} in the tap once, {sum(times.values()) - times[1]:,} more than once, "
            f"{options.requests - sum(times.values()):,} not ({time.monotonic() - start:.0f} s)",
            flush=True,
        )
        assert survived.answered == times[1] == len(survived.recorded) == options.requests


if __name__ == "__main__":
    main()
