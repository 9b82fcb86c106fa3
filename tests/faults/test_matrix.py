"""Every transport, one request at a time and several under way, through a proxy that spoils one thing.

The right exception, within the deadline, and the next request works; whatever was answered is in the tap, once.
"""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from cloud.service import Service
from cloud.tail import OnnxTail
from cloud.tap import Tap, read
from cutlayer.errors import DeadlineExceeded, Unreachable, WireError
from cutlayer.spec import Manifest
from cutlayer.wire.retry import Retry
from cutlayer.wire.transport import Timeouts, connect, listen
from tests.faults.proxy import Proxy
from tests.tiny_split import edge_at, images, write_split

TRANSPORTS = ["grpc", "zmq"]
IN_FLIGHT = {"infer": 1, "stream": 4}
BATCH = 200
"""Images in a request: 57,600 bytes, so that faults find their place within a tensor."""

# A heartbeat finds a dead connection before the deadline; where it must not, it is longer than the test.
QUICK = Timeouts(connect_s=5.0, request_s=3.0, heartbeat_s=0.4)
SLOW = Timeouts(connect_s=5.0, request_s=10.0, heartbeat_s=2.0)
DEAF = Timeouts(connect_s=5.0, request_s=0.7, heartbeat_s=30.0)
NEVER = Retry(attempts=1)
SLACK_S = 10.0
"""For a busy machine; a test that needs it has not hung."""


class Bench:
    """A server behind a proxy, and a device that is connected to it."""

    def __init__(self, folder, transport, n, timeouts, retry):
        self.folder, self.timeouts = folder, timeouts
        write_split(folder / "split")
        self.images = [images(BATCH, seed) for seed in range(n)]
        self.expected = [None] * n
        self.answered = []
        self.index, self.lock = 0, threading.Lock()
        self.tap = Tap(folder / "tap")
        tail = OnnxTail(folder / "split" / "tail.onnx", threads=1)
        self.service = Service(Manifest.load(folder / "split"), tail, self.tap)
        self.server = listen(f"{transport}://127.0.0.1:0", self.service, timeouts)
        self.proxy = Proxy("127.0.0.1", self.server.address.port)
        self.proxy.__enter__()
        self.client = connect(f"{transport}://127.0.0.1:{self.proxy.port}", timeouts, retry=retry)
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
        assert set(recorded.values()) <= {1}, "a request is in the tap twice"
        assert set(self.answered) <= {id for _, id in recorded}, "what was answered is not in the tap"


@contextmanager
def bench(folder, transport, way, timeouts=QUICK, retry=None):
    made = Bench(folder, transport, IN_FLIGHT[way], timeouts, retry)
    try:
        yield made
    finally:
        made.close()


every_way = pytest.mark.parametrize("way", IN_FLIGHT)
every_transport = pytest.mark.parametrize("transport", TRANSPORTS)
both_directions = pytest.mark.parametrize("direction", ["up", "down"])


@every_transport
@every_way
@pytest.mark.parametrize("kind", ["cut", "reset"])
@pytest.mark.parametrize(("direction", "after"), [("up", 0), ("up", 30_000), ("down", 0), ("down", 500)])
def test_a_lost_connection_is_an_error_at_once_and_the_next_request_works(
    tmp_path, transport, way, kind, direction, after
):
    with bench(tmp_path, transport, way, retry=NEVER) as one:
        getattr(one.proxy, direction).fail(kind, after)
        outcomes = one.ask_all()
        assert getattr(one.proxy, direction).failed.is_set()
        assert any(isinstance(outcome, Unreachable) for outcome in outcomes)
        assert all(isinstance(outcome, (Unreachable, np.ndarray)) for outcome in outcomes), outcomes
        one.works()


@every_transport
@every_way
@pytest.mark.parametrize("kind", ["cut", "reset", "stall"])
@pytest.mark.parametrize(("direction", "after"), [("up", 30_000), ("down", 0), ("down", 500)])
def test_a_lost_connection_is_retried_and_nothing_is_recorded_twice(tmp_path, transport, way, kind, direction, after):
    with bench(tmp_path, transport, way) as one:
        getattr(one.proxy, direction).fail(kind, after)
        one.works()
        assert getattr(one.proxy, direction).failed.is_set()
        one.proxy.heal()
        one.works()


@every_transport
@every_way
@both_directions
def test_silence_is_a_deadline_and_late_answers_are_nobodys(tmp_path, transport, way, direction):
    with bench(tmp_path, transport, way, DEAF) as one:
        getattr(one.proxy, direction).fail("stall", 0)
        outcomes = one.ask_all()
        assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes), outcomes
        one.proxy.heal()
        one.works()


@every_transport
@every_way
@both_directions
@pytest.mark.parametrize("after", [0, 9, 40, 400])
def test_a_flipped_bit_ends_in_an_answer_or_a_wire_error(tmp_path, transport, way, direction, after):
    with bench(tmp_path, transport, way) as one:
        getattr(one.proxy, direction).fail("flip", after)
        for outcome in one.ask_all():
            assert isinstance(outcome, (WireError, np.ndarray))
        one.works()


@every_transport
@every_way
def test_a_slow_link_is_only_slow(tmp_path, transport, way):
    """2 Mbit/s and 20 ms: longer for a request than the other tests leave a connection silent."""
    with bench(tmp_path, transport, way, SLOW) as one:
        one.proxy.up.delay_s = one.proxy.down.delay_s = 0.02
        one.proxy.up.rate_bps = 2e6
        one.works()
