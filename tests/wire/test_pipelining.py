"""Many requests under way on one connection, and connections that break under them."""

import threading
from typing import NamedTuple

import grpc
import pytest

from cutlayer.errors import ConnectionLost, DeadlineExceeded, Refused, Unreachable, WireError
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.grpc.frames import STREAM, read_stream_answer, stream_answer
from cutlayer.wire.grpc.server_stream import MAX_UNANSWERED
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.retry import MAX_IN_FLIGHT, Retry
from cutlayer.wire.transport import Timeouts

REAL = {"grpc": "grpc://127.0.0.1:0", "zmq": "zmq://127.0.0.1:0"}
EVERY = {**REAL, "inprocess": "inprocess://held"}
PATIENCE = Timeouts(connect_s=5.0)


class Held:
    """Keeps what arrives, and who waits for the answer, until a test answers."""

    def __init__(self):
        self.arrived, self.changed = [], threading.Condition()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        with self.changed:
            self.arrived.append((request, caller))
            self.changed.notify_all()

    def take(self, n=1):
        """The next n requests with their callers."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.arrived) >= n, 20), "did not arrive"
            taken, self.arrived = self.arrived[:n], self.arrived[n:]
        return taken

    def answer(self, n=1):
        for request, caller in self.take(n):
            caller.answer(request, lambda: None)


class Echo:
    def submit(self, request, arrived_ns, caller, *, lend=False):
        caller.answer(request, lambda: None)


@pytest.fixture
def serve():
    """A function that serves a handler at an address and connects to it; all is closed afterwards."""
    opened = []

    def start(address, handler, retry=None):
        server = listen(address, handler, PATIENCE)
        opened.append(server)
        client = connect(str(server.address), PATIENCE, retry=retry)
        opened.insert(0, client)
        return server, client

    yield start
    for one in opened:
        one.close(*() if hasattr(one, "submit") else (0,))


def message(number):
    # Over gRPC a header is a protobuf message: the tag of `id`, a length, the text.
    return Message(Kind.INFER, b"\x1a\x08%08d" % number)


@pytest.mark.parametrize("address", EVERY.values(), ids=EVERY)
def test_answers_find_their_requests_in_any_order(serve, address):
    held = Held()
    _, client = serve(address, held)
    futures = [client.submit(message(number), 20) for number in range(MAX_IN_FLIGHT)]
    arrived = held.take(MAX_IN_FLIGHT)
    for request, caller in reversed(arrived):
        caller.answer(request, lambda: None)
    assert [future.result(20).header for future in futures] == [message(n).header for n in range(MAX_IN_FLIGHT)]


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_requests_of_one_connection_come_from_one_client(serve, address):
    held = Held()
    _, client = serve(address, held)
    _, other = serve(address, held)
    futures = [client.submit(message(number), 20) for number in range(3)]
    assert len({caller.client for _, caller in held.take(3)}) == 1
    del other
    client.close()
    with pytest.raises(WireError):
        futures[0].result(20)


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_a_fast_client_loses_no_answer(serve, address):
    _, client = serve(address, Echo())
    for number in range(2000):
        assert client.request(message(number), 5).header == message(number).header
    futures = [client.submit(message(number), 20) for number in range(500)]
    assert [future.result().header for future in futures] == [message(number).header for number in range(500)]


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_a_missed_deadline_affects_no_other_request(serve, address):
    held = Held()
    _, client = serve(address, held)
    patient = client.submit(message(1), 20)
    (first,) = held.take()
    with pytest.raises(DeadlineExceeded):
        client.request(message(2), 0.1)
    (second,) = held.take()
    for request, caller in (second, first):
        caller.answer(request, lambda: None)
    assert patient.result(20).header == message(1).header


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_what_is_under_way_when_the_server_restarts_is_asked_again(serve, address):
    held = Held()
    server, client = serve(address, held)
    futures = [client.submit(message(number), 20) for number in range(4)]
    held.take(4)
    server.close(0)
    serve(str(server.address), Echo())
    assert [future.result(20).header for future in futures] == [message(number).header for number in range(4)]


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_without_a_second_attempt_a_lost_connection_is_an_error(serve, address):
    held = Held()
    server, client = serve(address, held, retry=Retry(attempts=1))
    future = client.submit(message(1), 20)
    held.take()
    server.close(0)
    with pytest.raises(ConnectionLost):
        future.result(20)
    again = Held()
    serve(str(server.address), again)
    future = client.submit(message(2), 20)
    again.answer()
    assert future.result(20).header == message(2).header


@pytest.mark.parametrize("address", EVERY.values(), ids=EVERY)
def test_a_busy_server_is_asked_again_when_it_said(serve, address):
    held = Held()
    _, client = serve(address, held)
    future = client.submit(message(1), 20)
    ((_, caller),) = held.take()
    caller.answer(Refused("RESOURCE_EXHAUSTED", "busy", retry_after_ms=1), lambda: None)
    held.answer()
    assert future.result(20).header == message(1).header


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_closing_ends_what_is_under_way(serve, address):
    held = Held()
    _, client = serve(address, held)
    futures = [client.submit(message(number), 20) for number in range(3)]
    held.take(3)
    client.close()
    for future in futures:
        with pytest.raises(Unreachable):
            future.result(20)
    with pytest.raises(Unreachable, match="closed on this side"):
        client.request(message(9), 1)


def test_a_client_that_went_away_is_gone():
    held = Held()
    server = listen(REAL["grpc"], held, PATIENCE)
    client = connect(str(server.address), PATIENCE)
    future = client.submit(message(1), 20)
    ((_, caller),) = held.take()
    assert not caller.gone()
    client.close()
    assert future.exception(20)
    sent = threading.Event()
    for _ in range(1000):
        if caller.gone():
            break
        threading.Event().wait(0.01)
    assert caller.gone()
    caller.answer(message(1), sent.set)
    assert sent.wait(20), "the tap would have missed it"
    server.close()


def test_a_client_of_zeromq_that_comes_back_replaces_its_connection(serve):
    held = Held()
    _, client = serve(REAL["zmq"], held)
    future = client.submit(message(1), 20)
    ((_, first),) = held.take()
    # As after a cable was pulled: the server has not noticed that the old connection is dead.
    with client._line._shared.lock:
        client._line._lose(ConnectionLost("as if"))
    ((_, second),) = held.take()
    assert first.client == second.client
    second.answer(message(1), lambda: None)
    assert future.result(20).header == message(1).header


def test_one_id_twice_at_a_time_is_refused_over_grpc(serve):
    held = Held()
    _, client = serve(REAL["grpc"], held)
    future = client.submit(message(1), 20)
    held.take()
    with pytest.raises(WireError, match="its own id"):
        client.request(message(1), 5)
    assert not future.done()


def test_a_stream_is_read_so_far_ahead_of_its_answers_and_no_further(serve):
    held = Held()
    server, _ = serve(REAL["grpc"], held)
    sent = 3 * MAX_UNANSWERED
    with grpc.insecure_channel(server.address.netloc) as channel:
        answers = channel.stream_stream(STREAM)(message(number).header for number in range(sent))
        waiting = held.take(MAX_UNANSWERED)
        for number in range(sent):
            threading.Event().wait(0.02)
            assert not held.arrived
            request, caller = waiting.pop(0)
            caller.answer(request, lambda: None)
            assert read_stream_answer(next(answers))[0] == f"{number:08d}"
            if number < sent - MAX_UNANSWERED:
                waiting += held.take()


def test_a_stream_without_requests_is_let_go_and_comes_back_with_the_next():
    """Each holds a thread of the server's, and there are only so many."""
    held = Held()
    server = listen(REAL["grpc"], held, Timeouts(idle_s=0.3))
    client = connect(str(server.address), PATIENCE)
    for number in range(2):
        future = client.submit(message(number), 20)
        arrived = held.take()
        # A client that waits for an answer is not idle.
        threading.Event().wait(0.7)
        assert server._methods._streams
        for request, caller in arrived:
            caller.answer(request, lambda: None)
        assert future.result(20).header == message(number).header
        server._methods.join(20)
        assert not server._methods._streams
    client.close()
    server.close()


class Status(NamedTuple):
    """How a call of gRPC's ended."""

    which: grpc.StatusCode
    words: str

    def code(self):
        return self.which

    def details(self):
        return self.words

    def trailing_metadata(self):
        return ()


def test_what_grpc_says_when_encryption_breaks_is_a_lost_connection_too():
    """As it was seen once a bit had been flipped under TLS; what another's server does not know is none."""
    client = connect("grpc://127.0.0.1:1")
    lost = Status(grpc.StatusCode.UNKNOWN, "Stream removed (Wrap failed (TSI_INTERNAL_ERROR))")
    assert isinstance(client._line._error(lost), ConnectionLost)
    failed = client._line._error(Status(grpc.StatusCode.UNKNOWN, "Exception calling application: no"))
    assert isinstance(failed, Refused)
    assert failed.code == "UNKNOWN"
    client.close()


def test_a_refusal_survives_the_stream():
    for refused in (Refused("NOT_FOUND", "None."), Refused("RESOURCE_EXHAUSTED", "Busy.", 250)):
        request_id, read = read_stream_answer(stream_answer(refused, "s-7"))
        assert (request_id, read.code, str(read), read.retry_after_ms) == (
            "s-7",
            refused.code,
            str(refused),
            refused.retry_after_ms,
        )


def test_calls_without_a_stream_are_answered_too(serve):
    server, _ = serve(REAL["grpc"], Echo())
    with grpc.insecure_channel(server.address.netloc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        assert call(message(1).header, timeout=20) == message(1).header


class Lent:
    """Answers at once, or when told to; remembers whether the thread was lent."""

    def __init__(self):
        self.lent, self.seen, self.go_on = [], threading.Event(), threading.Event()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        self.lent.append(lend)
        if request.header == message(0).header:
            self.seen.set()
            self.go_on.wait(20)
        caller.answer(request, lambda: None)


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_a_client_that_is_alone_is_lent_the_receiving_thread(serve, address):
    lent = Lent()
    _, client = serve(address, lent)
    for number in range(1, 300):
        client.request(message(number), 20)
    assert lent.lent == [True] * 299


def test_in_company_the_thread_only_receives(serve):
    lent = Lent()
    server, client = serve(REAL["zmq"], lent)
    first = client.submit(message(0), 20)
    assert lent.seen.wait(20)
    second = client.submit(message(1), 20)
    for _ in range(2000):
        with server._shared.lock:
            if server._shared.readable():
                break
        threading.Event().wait(0.01)
    lent.go_on.set()
    assert [future.result(20).header for future in (first, second)] == [message(0).header, message(1).header]
    client.request(message(2), 20)
    assert lent.lent == [True, False, False]


def test_two_clients_are_company(serve):
    lent = Lent()
    server, client = serve(REAL["zmq"], lent)
    other = connect(str(server.address), PATIENCE)
    for number in range(1, 4):
        client.request(message(number), 20)
        other.request(message(number), 20)
    other.close()
    assert lent.lent == [True, False, False, False, False, False]
