"""A server behind a proxy that spoils one thing, and a device that asks it: what the fault matrix is made of."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloud.service import Service
from cloud.tap import Tap, read
from cutlayer.errors import WireError
from cutlayer.split_folder import open_split
from cutlayer.wire.connect import connect, listen, servable
from cutlayer.wire.retry import Retry
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts
from tests.faults.proxy import Proxy
from tests.tiny_split import edge_at, images, write_split

IN_FLIGHT = {"infer": 1, "stream": 4}
BATCH = 200
"""Images in a request: 57,600 bytes, so that faults find their place within a tensor."""

# A heartbeat finds a dead connection before the deadline; where it must not, it is longer than the test.
QUICK = Timeouts(connect_s=5.0, request_s=3.0, heartbeat_s=0.4)
SLOW = Timeouts(connect_s=5.0, request_s=10.0, heartbeat_s=2.0)
# A request takes longer than this silence, and no longer than what a connection survives.
BUSY = Timeouts(connect_s=5.0, request_s=10.0, heartbeat_s=1.2)
DEAF = Timeouts(connect_s=5.0, request_s=0.7, heartbeat_s=30.0)
NEVER = Retry(attempts=1)
SLACK_S = 10.0
"""For a busy machine; a test that needs it has not hung."""


class Lane(NamedTuple):
    """One way of asking.

    Attributes:
        server: Scheme that the server listens at.
        client: Scheme that the device connects to.
        secured: A function of a folder with keys and certificates, to what either side proves; None: plain text.
        known_again: Whether a request that is sent twice is known to be one.
    """

    server: str
    client: str
    secured: Callable[[Path], tuple[Security, Security]] | None = None
    known_again: bool = True


def _tls(keys):
    server = Security(ca=keys / "ca.pem", cert=keys / "server.pem", key=keys / "server.key", token_file=keys / "token")
    client = Security(ca=keys / "ca.pem", cert=keys / "client.pem", key=keys / "client.key", token_file=keys / "token")
    return server, client


def _curve(keys):
    server = Security(curve_key=keys / "curve-server.key", allow=keys / "clients")
    return server, Security(curve_key=keys / "curve-client.key", curve_server=keys / "curve-server.pub")


LANES = {
    **{name: Lane(name, name) for name in servable()},
    "grpc, mutual TLS": Lane("grpc", "grpc", _tls),
    "zmq, CURVE": Lane("zmq", "zmq", _curve),
    # A call for each request, and nothing that another's server would not know, so no session either.
    "oip+grpc": Lane("grpc", "oip+grpc", known_again=False),
}


class Bench:
    """A server behind a proxy, and a device that is connected to it."""

    def __init__(self, folder, lane, n, timeouts, retry, keys):
        self.folder, self.lane, self.timeouts = folder, LANES[lane], timeouts
        here, there = self.lane.secured(keys) if self.lane.secured else (PLAIN, PLAIN)
        write_split(folder / "split")
        self.images = [images(BATCH, seed) for seed in range(n)]
        self.expected = [None] * n
        self.answered = []
        self.index, self.lock = 0, threading.Lock()
        self.tap = Tap(folder / "tap")
        tail = open_split(folder / "split").tail(threads=1)
        self.service = Service(open_split(folder / "split").manifest, tail, self.tap)
        self.server = listen(f"{self.lane.server}://127.0.0.1:0", self.service, timeouts, security=here)
        self.proxy = Proxy("127.0.0.1", self.server.address.port)
        self.proxy.__enter__()
        address = f"{self.lane.client}://127.0.0.1:{self.proxy.port}"
        self.client = connect(address, timeouts, retry=retry, security=there)
        self.edge = edge_at(folder / "split", self.client, timeouts=timeouts)
        self.expected = [self.ask(which) for which in range(n)]

    def ask(self, which):
        """One request; its logits."""
        with self.lock:
            self.index += 1
            index = self.index
        logits, _ = self.edge.infer(self.images[which], index)
        self.answered.append(self.edge.request_id(index))
        return logits

    def ask_all(self):
        """As many at a time as there are inputs; what became of each, and how long the slowest took."""

        def one(which):
            start = time.monotonic()
            try:
                outcome = self.ask(which)
            except WireError as error:
                outcome = error
            return outcome, time.monotonic() - start

        with ThreadPoolExecutor(len(self.images)) as pool:
            outcomes, seconds = zip(*pool.map(one, range(len(self.images))), strict=True)
        assert max(seconds) < self.timeouts.connect_s + self.timeouts.request_s + SLACK_S
        return outcomes

    def works(self):
        """The next requests are answered, rightly."""
        for outcome, expected in zip(self.ask_all(), self.expected, strict=True):
            assert not isinstance(outcome, WireError), outcome
            np.testing.assert_array_equal(outcome, expected)

    def close(self):
        self.client.close()
        self.server.close()
        self.service.drain()
        self.proxy.__exit__()
        self.tap.close()
        recorded = Counter((header["session"], header["id"]) for header, _ in read(self.folder / "tap"))
        assert not self.lane.known_again or set(recorded.values()) <= {1}, "a request is in the tap twice"
        assert set(self.answered) <= {id for _, id in recorded}, "what was answered is not in the tap"


@contextmanager
def bench(folder, lane, way, timeouts=QUICK, retry=None, keys=None):
    made = Bench(folder, lane, IN_FLIGHT[way], timeouts, retry, keys)
    try:
        yield made
    finally:
        made.close()
