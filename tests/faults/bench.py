"""A server behind a proxy with faults, and a device that sends requests to it: the parts of the fault matrix."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import Tap, read
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
"""Images in a request: 57,600 bytes, so that faults hit a tensor."""

# A heartbeat detects a dead connection before the deadline, except with DEAF, whose heartbeat is longer than a test.
# Deadlines and long heartbeats leave room for a busy machine; nothing waits for them there.
QUICK = Timeouts(connect_s=5.0, request_s=10.0, heartbeat_s=0.4)
SLOW = Timeouts(connect_s=5.0, request_s=20.0, heartbeat_s=6.0)
# A request takes longer than heartbeat_s, and no longer than the silence that a connection survives.
BUSY = Timeouts(connect_s=5.0, request_s=10.0, heartbeat_s=1.2)
DEAF = Timeouts(connect_s=5.0, request_s=1.5, heartbeat_s=30.0)
NEVER = Retry(attempts=1)
SLACK_S = 10.0
"""Additional time on a busy machine, before a request counts as hung."""


class Lane(NamedTuple):
    """A pair of transports, with or without encryption.

    Attributes:
        server: Scheme of the server's address.
        client: Scheme of the address to which the device connects.
        secured: Function from a folder of keys and certificates to the files of server and client; None for plain text.
        repeats_known: Whether the server recognizes a request that was sent twice.
    """

    server: str
    client: str
    secured: Callable[[Path], tuple[Security, Security]] | None = None
    repeats_known: bool = True


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
    # A call for each request, without our parameters, so without a session.
    "oip+grpc": Lane("grpc", "oip+grpc", repeats_known=False),
}


class Bench:
    """A server behind a proxy, and a device that is connected to it."""

    def __init__(self, folder, lane, n, timeouts, retry, keys):
        self.folder, self.lane, self.timeouts = folder, LANES[lane], timeouts
        server_files, client_files = self.lane.secured(keys) if self.lane.secured else (PLAIN, PLAIN)
        manifest = write_split(folder / "split")
        self.images = [images(BATCH, seed) for seed in range(n)]
        self.answered, self.index, self.lock = [], 0, threading.Lock()
        self.tap = Tap(folder / "tap")
        self.service = Service(manifest, open_split(folder / "split").tail(threads=1), self.tap)
        self.server = listen(f"{self.lane.server}://127.0.0.1:0", self.service, timeouts, security=server_files)
        self.proxy = Proxy("127.0.0.1", self.server.address.port)
        self.proxy.__enter__()
        address = f"{self.lane.client}://127.0.0.1:{self.proxy.port}"
        self.client = connect(address, timeouts, retry=retry, security=client_files)
        self.edge = edge_at(folder / "split", self.client, timeouts=timeouts)
        self.expected = [self.ask(number) for number in range(n)]

    def link(self, direction):
        return getattr(self.proxy, direction)

    def ask(self, number):
        """Send the batch with this number; return its logits."""
        with self.lock:
            self.index += 1
            index = self.index
        logits, _ = self.edge.infer(self.images[number], index)
        self.answered.append(self.edge.request_id(index))
        return logits

    def ask_all(self):
        """Send all batches at once; return the logits or the error of each, and check that each ends in time."""

        def outcome(number):
            start = time.monotonic()
            try:
                return self.ask(number)
            except WireError as error:
                return error
            finally:
                assert time.monotonic() - start < self.timeouts.connect_s + self.timeouts.request_s + SLACK_S

        with ThreadPoolExecutor(len(self.images)) as pool:
            return list(pool.map(outcome, range(len(self.images))))

    def check_all_answered(self):
        """Send all batches, and check that each gets the right logits."""
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
        assert not self.lane.repeats_known or set(recorded.values()) <= {1}, "a request is in the tap twice"
        assert set(self.answered) <= {id for _, id in recorded}, "an answered request is not in the tap"


@contextmanager
def bench(folder, lane, way, timeouts=QUICK, retry=None, keys=None):
    with closing(Bench(folder, lane, IN_FLIGHT[way], timeouts, retry, keys)) as device:
        yield device
