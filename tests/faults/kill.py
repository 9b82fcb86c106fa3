"""Kill -9 of the cloud, again and again, under clients that go on asking: everything is answered, and recorded once.

    .venv/bin/python -m tests.faults.kill [--transport zmq] [--requests 2000] [--kills 20] [--in-flight 4]

The tap is durable: it has a request before its answer leaves.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloud.tap import read
from cutlayer.wire.connect import connect
from cutlayer.wire.retry import Retry
from cutlayer.wire.transport import Timeouts
from tests.cloud_process import CloudProcess
from tests.tiny_split import edge_at, images, write_split

PATIENCE = Timeouts(connect_s=30.0, request_s=60.0)
PERSISTENCE = Retry(attempts=100)


class Survived(NamedTuple):
    """What a run with kills came to.

    Attributes:
        answered: Requests with an answer, each the right one.
        recorded: How often each request is in the tap.
        kills: That happened while requests were under way.
    """

    answered: int
    recorded: Counter[str]
    kills: int


def survive(folder: Path, transport: str, n_requests: int, n_kills: int, in_flight: int, seed: int = 0) -> Survived:
    """Ask so often, from as many threads as may be under way at a time, and kill the server so often meanwhile.

    Raises:
        WireError: A request was not answered.
        AssertionError: One was answered with what belongs to another.
    """
    write_split(folder / "split")
    inputs = images(in_flight)
    numbers = itertools.count()
    # At random places within equal parts of the run, so that kills meet every stage of a request.
    rng = np.random.default_rng(seed)
    kill_at = [int((part + rng.random()) * n_requests / n_kills) for part in range(n_kills)]
    reached, asked = threading.Condition(), 0

    def ask(which: int) -> int:
        answered = 0
        try:
            for index in numbers:
                if index >= n_requests:
                    break
                tell(1)
                logits, _ = edge.infer(inputs[which : which + 1], index)
                np.testing.assert_array_equal(logits, expected[which : which + 1])
                answered += 1
        finally:
            tell(n_requests)
        return answered

    def tell(n: int) -> None:
        nonlocal asked
        with reached:
            asked += n
            reached.notify_all()

    with CloudProcess(folder / "split", f"{transport}://127.0.0.1:0", folder / "tap", ("--durable",)) as cloud:
        client = connect(cloud.address, PATIENCE, retry=PERSISTENCE)
        try:
            edge = edge_at(folder / "split", client, timeouts=PATIENCE)
            expected = np.concatenate([edge.infer(inputs[i : i + 1], n_requests + i)[0] for i in range(in_flight)])
            with ThreadPoolExecutor(in_flight) as pool:
                asking = [pool.submit(ask, which) for which in range(in_flight)]
                for place in kill_at:
                    with reached:
                        reached.wait_for(lambda place=place: asked > place, PATIENCE.request_s)
                    # Anywhere within a request: they take about a millisecond.
                    time.sleep(float(rng.random()) * 2e-3)
                    cloud.kill()
                    cloud.start()
                answered = sum(one.result() for one in asking)
        finally:
            client.close()
        assert cloud.stop() == 0, cloud.words
    recorded = Counter(header["id"] for header, _ in read(folder / "tap"))
    of_the_run = {edge.request_id(index) for index in range(n_requests)}
    return Survived(answered, Counter({id: n for id, n in recorded.items() if id in of_the_run}), len(kill_at))


def main() -> None:
    """Print what the run came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transport", nargs="+", default=["zmq", "grpc"])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for transport in options.transport:
        with tempfile.TemporaryDirectory() as work:
            start = time.monotonic()
            survived = survive(Path(work), transport, options.requests, options.kills, options.in_flight, options.seed)
        times = Counter(survived.recorded.values())
        print(
            f"{transport}: {survived.answered:,} of {options.requests:,} answered over {survived.kills} kills, "
            f"{times[1]:,} in the tap once, {sum(times.values()) - times[1]:,} more than once, "
            f"{options.requests - sum(times.values()):,} not ({time.monotonic() - start:.0f} s)",
            flush=True,
        )
        assert survived.answered == times[1] == len(survived.recorded) == options.requests


if __name__ == "__main__":
    main()
