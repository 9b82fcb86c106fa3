"""Every way in which a server can fail a request, over real sockets: what happens to a device with a queue."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest

from cutlayer.cloud.service import Service
from cutlayer.edge.offline.lookout import Lookout
from cutlayer.edge.offline.queue import Queue
from cutlayer.edge.offline.replay import Offline
from cutlayer.errors import Refused, StreamReset
from cutlayer.split_folder import open_split
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.grpc.frames import LIVE, PATHS, RAW_INPUT_CONTENTS, RAW_OUTPUT_CONTENTS, STREAM, stream_answer
from cutlayer.wire.message import Kind, Message, read_infer_request
from cutlayer.wire.outcomes import CODES, Then
from cutlayer.wire.peer import Peer
from cutlayer.wire.protobuf import join, split
from cutlayer.wire.retry import Retry
from cutlayer.wire.transport import Caller, Timeouts, nothing
from tests.tiny_split import ADDRESSES, edge_at, images

GARBAGE = Message(Kind.INFER, b"\xff\xff\xff", ())
CALLS = {code.name: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}


class Script:
    """A server's handler that fails some requests, by a function of their index, and leaves the others to a service."""

    ready = True

    def __init__(self, service):
        self.service, self.fault = service, lambda index: None
        self.tries, self.answered = [], set()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        fault = self.failed(request)
        if fault is None:
            self.service.submit(request, arrived_ns, caller, lend=lend)
        else:
            caller.answer(fault, nothing)

    def failed(self, request):
        if request.kind is not Kind.INFER:
            return None
        index = int(read_infer_request(request).id.rpartition("-")[2])
        self.tries.append(index)
        fault = self.fault(index)
        if fault is None:
            self.answered.add(index)
        return fault


class Ends(grpc.GenericRpcHandler):
    """A gRPC server that ends the whole stream with a status where a request fails, as many other servers do."""

    def __init__(self, script):
        self.script = script

    def service(self, details):
        if details.method == LIVE:
            return grpc.unary_unary_rpc_method_handler(lambda data, context: b"")
        if details.method == PATHS[Kind.METADATA]:
            return grpc.unary_unary_rpc_method_handler(lambda data, context: self.ask(Message(Kind.METADATA, data)))
        assert details.method == STREAM
        return grpc.stream_stream_rpc_method_handler(self.stream)

    def stream(self, requests, context):
        for data in requests:
            header, tensors, request_id = split(data, RAW_INPUT_CONTENTS)
            request = Message(Kind.INFER, header, tensors)
            if fault := self.script.failed(request):
                context.abort(CALLS[fault.code], str(fault))
            answers = []
            self.submit(request, answers)
            yield stream_answer(answers[0], request_id)

    def ask(self, request):
        answers = []
        self.submit(request, answers)
        return join(answers[0].header, answers[0].tensors, RAW_OUTPUT_CONTENTS)

    def submit(self, request, answers):
        caller = Caller(Peer(self), lambda: False, lambda reply, sent: (answers.append(reply), sent()))
        self.script.service.submit(request, time.monotonic_ns(), caller, lend=True)


@contextlib.contextmanager
def status_server(script):
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, [Ends(script)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"grpc://127.0.0.1:{port}"
        server.stop(0).wait()


@contextlib.contextmanager
def wire_server(script, transport):
    server = listen(ADDRESSES[transport], script)
    yield str(server.address)
    server.close()


SERVERS = {
    "grpc": partial(wire_server, transport="grpc"),
    "zmq": partial(wire_server, transport="zmq"),
    "grpc status": status_server,
}


@contextlib.contextmanager
def device_at(folder, address, queue):
    """A device with a queue, impatient, as everything is near."""
    timeouts = Timeouts(connect_s=5, request_s=10)
    client = connect(address, timeouts, retry=Retry(attempts=2, first_s=0.001))
    edge = edge_at(folder, client, timeouts=timeouts)
    lookout = Lookout(lambda: edge.shake_hands(5), first_pause_s=0.001, most_pause_s=0.002)
    offline = Offline(edge, open_split(folder).manifest, lookout, queue=Queue(queue, 1 << 20), wait_s=10)
    try:
        yield offline
    finally:
        offline.close(client)


def finish(offline, waits=0):
    until = time.monotonic() + 20
    while offline.counts.waiting > waits:
        assert time.monotonic() < until, offline.counts
        offline.flush()


@pytest.fixture
def script(folder):
    service = Service(open_split(folder).manifest, open_split(folder).tail(threads=1))
    yield Script(service)
    service.drain()


@pytest.mark.parametrize(
    "words", ["RST_STREAM (Received RST_STREAM with error code 2)", "http2 header with status: 413"]
)
def test_a_stream_that_a_proxy_ends_is_opened_again_and_at_last_the_proxy_is_named(folder, script, words):
    failed = set()
    with status_server(script) as address, contextlib.closing(connect(address, retry=Retry(3, 0.001))) as client:
        edge = edge_at(folder, client)
        script.fault = lambda index: None if index in failed or failed.add(index) else Refused("INTERNAL", words)
        for index in range(5):
            edge.infer(images(1, index), index)
        assert script.tries == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        script.fault = lambda index: Refused("UNKNOWN", words)
        with pytest.raises(StreamReset, match=r"^A proxy in front of grpc://.*client_max_body_size 0"):
            edge.infer(images(1), 5)
        script.fault = lambda index: None
        edge.infer(images(1), 6)


FAULTS = {code: Refused(code, f"It says {code}.") for code in (*CODES, "HTTP_418")}
EACH = [(server, code) for server in ("grpc", "zmq") for code in (*FAULTS, "unreadable")]
EACH += [("grpc status", code) for code in CODES]


@pytest.mark.parametrize(("server", "code"), EACH)
def test_a_request_leaves_the_queue_answered_or_with_the_reason(folder, tmp_path, script, server, code):
    fault = FAULTS.get(code, GARBAGE)
    for_good = code in CODES and CODES[code].then is Then.REFUSED
    failing = threading.Event()
    with SERVERS[server](script) as address:
        # One that always fails blocks no other.
        script.fault = lambda index: fault if index == 2 else None
        with device_at(folder, address, tmp_path / "queue") as offline:
            offline.reachable()
            for index in range(10):
                offline.infer(images(1, index), index)
            finish(offline)
            counts = offline.counts
            assert (counts.refused, counts.failed) == (for_good, not for_good)
            assert script.tries.count(2) == 1 if for_good else script.tries.count(2) >= 5
            # A server that fails for all loses none, unless it refuses.
            script.fault = lambda index: fault if failing.is_set() else None
            failing.set()
            for index in range(10, 18):
                offline.infer(images(1, index), index)
            offline.flush()
            failing.clear()
            finish(offline)
            counts = offline.counts
            assert counts.refused == (9 if for_good else 0)
            assert counts.failed == (0 if for_good else 1)
            lost = server == "grpc status" and code in ("UNAVAILABLE", "CANCELLED")
            assert (code if code in CODES and not lost else "") in counts.why_aside
        # What was set aside is a queue, which can be sent once the reason is gone.
        with device_at(folder, address, tmp_path / "queue" / "set-aside") as offline:
            finish(offline)
    assert script.answered == set(range(18))
