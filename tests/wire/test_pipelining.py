"""Many unanswered requests on one connection, and connections that break while they wait."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
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
from tests.wire.ends import SOCKETS, WAIT_S, Echo, Held, each_socket, each_transport, message, nothing, numbers, submit


@each_transport
def test_answers_reach_their_requests_in_any_order(serve, address):
    _, client = serve(address, held := Held())
    futures = submit(client, MAX_IN_FLIGHT)
    for request, caller in reversed(held.take(MAX_IN_FLIGHT)):
        caller.answer(request, nothing)
    assert numbers(*futures) == list(range(MAX_IN_FLIGHT))


@each_socket
def test_requests_of_one_connection_have_the_same_client(serve, address):
    held = Held()
    _, client = serve(address, held)
    serve(address, held)
    futures = submit(client, 3)
    assert len({caller.peer.connection for _, caller in held.take(3)}) == 1
    client.close()
    with pytest.raises(WireError):
        futures[0].result(WAIT_S)


@each_socket
def test_a_fast_client_loses_no_answer(serve, address):
    _, client = serve(address, Echo())
    for number in range(2000):
        assert client.request(message(number), 5).header == message(number).header
    assert numbers(*submit(client, 500)) == list(range(500))


@each_socket
def test_more_threads_than_a_connection_has_requests_in_flight_lose_no_answer(serve, address):
    _, client = serve(address, Echo())
    with ThreadPoolExecutor(4 * MAX_IN_FLIGHT) as threads:
        large = [Message(Kind.INFER, message(number).header, (bytes(300_000),)) for number in range(1000)]
        for answer in [threads.submit(client.request, request, 10) for request in large]:
            assert len(answer.result().tensors[0]) == 300_000


@each_socket
def test_a_missed_deadline_affects_no_other_request(serve, address):
    _, client = serve(address, held := Held())
    patient = client.submit(message(1), WAIT_S)
    (first,) = held.take()
    with pytest.raises(DeadlineExceeded):
        client.request(message(2), 0.1)
    (second,) = held.take()
    for request, caller in (second, first):
        caller.answer(request, nothing)
    assert numbers(patient) == [1]


@each_socket
def test_unanswered_requests_are_sent_again_when_the_server_restarts(serve, address):
    server, client = serve(address, held := Held())
    futures = submit(client, 4)
    held.take(4)
    server.close(0)
    serve(str(server.address), Echo())
    assert numbers(*futures) == list(range(4))


@each_socket
def test_without_a_second_attempt_a_lost_connection_is_an_error(serve, address):
    server, client = serve(address, held := Held(), retry=Retry(attempts=1))
    future = client.submit(message(1), WAIT_S)
    held.take()
    server.close(0)
    with pytest.raises(ConnectionLost):
        future.result(WAIT_S)
    serve(str(server.address), restarted := Held())
    future = client.submit(message(2), WAIT_S)
    restarted.answer()
    assert numbers(future) == [2]


@each_transport
def test_a_busy_server_is_asked_again_after_the_time_that_it_names(serve, address):
    _, client = serve(address, held := Held())
    future = client.submit(message(1), WAIT_S)
    ((_, caller),) = held.take()
    caller.answer(Refused("RESOURCE_EXHAUSTED", "busy", retry_after_ms=1), nothing)
    held.answer()
    assert numbers(future) == [1]


@each_socket
def test_closing_fails_unanswered_requests(serve, address):
    _, client = serve(address, held := Held())
    futures = submit(client, 3)
    held.take(3)
    client.close()
    for future in futures:
        with pytest.raises(Unreachable):
            future.result(WAIT_S)
    with pytest.raises(Unreachable, match="closed on this side"):
        client.request(message(9), 1)


def test_a_client_that_has_left_is_gone_and_its_answer_counts_as_sent(serve):
    _, client = serve(SOCKETS["grpc"], held := Held())
    future = client.submit(message(1), WAIT_S)
    ((_, caller),) = held.take()
    assert not caller.gone()
    client.close()
    assert future.exception(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while not caller.gone():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    caller.answer(message(1), (sent := threading.Event()).set)
    assert sent.wait(WAIT_S), "the tap would have missed the request"


def test_a_zeromq_client_that_reconnects_replaces_its_connection(serve):
    _, client = serve(SOCKETS["zmq"], held := Held())
    future = client.submit(message(1), WAIT_S)
    ((_, first),) = held.take()
    # As after a cable was pulled: the server has not noticed that the old connection is dead.
    with client._line._shared.lock:
        client._line._lose(ConnectionLost("as if"))
    ((_, second),) = held.take()
    assert first.peer.connection == second.peer.connection
    second.answer(message(1), nothing)
    assert numbers(future) == [1]


def test_two_unanswered_requests_with_one_id_are_refused_over_grpc(serve):
    _, client = serve(SOCKETS["grpc"], held := Held())
    future = client.submit(message(1), WAIT_S)
    held.take()
    with pytest.raises(WireError, match="its own id"):
        client.request(message(1), 5)
    assert not future.done()


def test_a_server_reads_a_limited_number_of_unanswered_requests_from_a_stream(serve):
    server, _ = serve(SOCKETS["grpc"], held := Held())
    n_sent = 3 * MAX_UNANSWERED
    with grpc.insecure_channel(server.address.netloc) as channel:
        answers = channel.stream_stream(STREAM)(message(number).header for number in range(n_sent))
        waiting = held.take(MAX_UNANSWERED)
        for number in range(n_sent):
            time.sleep(0.02)
            assert not held.arrived
            request, caller = waiting.pop(0)
            caller.answer(request, nothing)
            assert read_stream_answer(next(answers))[0] == f"{number:08d}"
            if number < n_sent - MAX_UNANSWERED:
                waiting += held.take()


def test_an_idle_stream_ends_and_the_next_request_opens_another():
    """Each stream holds a thread of the server, whose number is limited."""
    server = listen(SOCKETS["grpc"], held := Held(), Timeouts(idle_s=0.3))
    client = connect(str(server.address))
    for number in range(2):
        future = client.submit(message(number), WAIT_S)
        ((request, caller),) = held.take()
        # A client that waits for an answer is not idle.
        time.sleep(0.7)
        assert server._methods._streams
        caller.answer(request, nothing)
        assert numbers(future) == [number]
        server._methods.join(WAIT_S)
        assert not server._methods._streams
    client.close()
    server.close()


class Status(NamedTuple):
    """The end of a gRPC call."""

    status: grpc.StatusCode
    sentence: str

    def code(self):
        return self.status

    def details(self):
        return self.sentence

    def trailing_metadata(self):
        return ()


def test_an_error_of_encryption_in_grpc_is_a_lost_connection():
    """gRPC reported it so after a bit had been flipped under TLS; an error within a server has the same status code."""
    client = connect("grpc://127.0.0.1:1")
    lost = Status(grpc.StatusCode.UNKNOWN, "Stream removed (Wrap failed (TSI_INTERNAL_ERROR))")
    assert isinstance(client._line._error(lost), ConnectionLost)
    failed = client._line._error(Status(grpc.StatusCode.UNKNOWN, "Exception calling application: no"))
    assert isinstance(failed, Refused)
    assert failed.code == "UNKNOWN"
    client.close()


@pytest.mark.parametrize("refused", [Refused("NOT_FOUND", "None."), Refused("RESOURCE_EXHAUSTED", "Busy.", 250)])
def test_a_refusal_survives_the_stream(refused):
    request_id, error = read_stream_answer(stream_answer(refused, "s-7"))
    assert (request_id, str(error), vars(error)) == ("s-7", str(refused), vars(refused))


def test_calls_without_a_stream_are_answered_too(serve):
    server, _ = serve(SOCKETS["grpc"], Echo())
    with grpc.insecure_channel(server.address.netloc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        assert call(message(1).header, timeout=WAIT_S) == message(1).header


class Lent(Echo):
    """An echo that notes whether the thread was lent. It holds the request 0 until a test lets it go on."""

    def __init__(self):
        self.lent, self.begun, self.go_on = [], threading.Event(), threading.Event()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        self.lent.append(lend)
        if request.header == message(0).header:
            self.begun.set()
            self.go_on.wait(WAIT_S)
        super().submit(request, arrived_ns, caller)


@each_socket
def test_a_single_client_is_lent_the_receiving_thread(serve, address):
    _, client = serve(address, handler := Lent())
    for number in range(1, 300):
        client.request(message(number), WAIT_S)
    assert handler.lent == [True] * 299


def test_the_thread_only_receives_once_requests_overlap(serve):
    server, client = serve(SOCKETS["zmq"], handler := Lent())
    first = client.submit(message(0), WAIT_S)
    assert handler.begun.wait(WAIT_S)
    second = client.submit(message(1), WAIT_S)
    for _ in range(2000):
        with server._shared.lock:
            if server._shared.readable():
                break
        time.sleep(0.01)
    handler.go_on.set()
    assert numbers(first, second) == [0, 1]
    client.request(message(2), WAIT_S)
    assert handler.lent == [True, False, False]


def test_the_thread_only_receives_for_two_clients(serve):
    server, client = serve(SOCKETS["zmq"], handler := Lent())
    other = connect(str(server.address))
    for number in range(1, 4):
        client.request(message(number), WAIT_S)
        other.request(message(number), WAIT_S)
    other.close()
    assert handler.lent == [True, False, False, False, False, False]
