"""Closing a side, or waiting for a missing server, blocks no other thread, and all waiting requests fail."""

import socket
import threading
import time

import pytest
import zmq

from cutlayer.errors import Refused, Unreachable, WireError
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.retry import MAX_IN_FLIGHT
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.zmq.frames import open_socket
from cutlayer.wire.zmq.socket import SharedSocket
from tests.wire.ends import EVERY, SOCKETS, WAIT_S, Echo, Held, each_transport, message, nothing, numbers, submit

LONG_S, MESSAGE = 60.0, message(1)
each_socket = pytest.mark.parametrize("scheme", SOCKETS)


@pytest.fixture
def free_port():
    """A port of this machine without a server."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def thread(function, *arguments):
    started = threading.Thread(target=function, args=arguments, daemon=True)
    started.start()
    return started


@each_socket
def test_a_request_waits_for_a_connection_no_longer_than_its_own_deadline(scheme, free_port):
    client = connect(f"{scheme}://127.0.0.1:{free_port}", Timeouts(connect_s=8.0))
    patient = client.submit(MESSAGE, LONG_S)
    time.sleep(0.2)
    start = time.monotonic()
    with pytest.raises(WireError):
        client.request(MESSAGE, 0.3)
    assert time.monotonic() - start < 4
    assert not patient.done()
    client.close()


def close_soon(client):
    """Close a client, and check that it takes no longer than 10 s."""
    start = time.monotonic()
    client.close()
    assert time.monotonic() - start < 10


def test_a_grpc_client_that_ctrl_c_interrupts_in_a_call_can_be_closed(free_port, monkeypatch):
    """The call has begun, and no thread reads its events: gRPC itself waits for its end without a limit."""

    def interrupted(*_):
        raise KeyboardInterrupt

    client = connect(f"grpc://127.0.0.1:{free_port}", Timeouts(connect_s=8.0))
    monkeypatch.setattr("grpc._channel._run_channel_spin_thread", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.request(MESSAGE, LONG_S)
    close_soon(client)


@each_socket
def test_closing_ends_the_wait_for_a_connection(scheme, free_port):
    client = connect(f"{scheme}://127.0.0.1:{free_port}", Timeouts(connect_s=20.0))
    waiting = client.submit(MESSAGE, LONG_S)
    time.sleep(0.2)
    close_soon(client)
    with pytest.raises(Unreachable):
        waiting.result(0)


def test_closing_ends_the_pause_before_another_attempt(serve):
    _, client = serve(EVERY["inprocess"], held := Held())
    paused = client.submit(MESSAGE, LONG_S)
    ((_, caller),) = held.take()
    caller.answer(Refused("RESOURCE_EXHAUSTED", "Busy.", 30_000), nothing)
    close_soon(client)
    with pytest.raises(Unreachable, match="closed on this side"):
        paused.result(0)


@each_transport
def test_closing_fails_requests_that_wait_for_a_thread_and_later_ones(serve, address):
    _, client = serve(address, held := Held())
    futures = [client.submit(message(number), 3.0) for number in range(MAX_IN_FLIGHT + 5)]
    held.take(MAX_IN_FLIGHT)
    client.close()
    futures.append(client.submit(MESSAGE, LONG_S))
    for future in futures:
        with pytest.raises(WireError):
            future.result(WAIT_S)


class Gate:
    """The lock of a socket, which closes the socket just before a thread that waits for an answer takes the lock."""

    def __init__(self, line):
        self._line, self._real, self._entries = line, line._shared.lock, 0

    def __enter__(self):
        # The thread has used the socket once without finding an answer; it comes back now.
        self._entries += 1
        if self._entries == 2:
            thread(self._line.close)
            while not self._line._shared.socket.closed:
                time.sleep(0.001)
        return self._real.__enter__()

    def __exit__(self, *raised):
        return self._real.__exit__(*raised)


class Gated:
    """A shared socket whose lock is a gate for the threads that wait for answers."""

    def __init__(self, line):
        self._shared, self._gate = line._shared, Gate(line)

    @property
    def lock(self):
        return self._gate if threading.current_thread().name.startswith("wire-client") else self._shared.lock

    def __getattr__(self, name):
        return getattr(self._shared, name)


def test_a_thread_that_returns_to_a_socket_as_it_is_closed_gets_an_error(serve):
    _, client = serve(SOCKETS["zmq"], held := Held())
    waiting = client.submit(MESSAGE, LONG_S)
    held.take()
    while not client._line._shared._awaited:
        time.sleep(0.001)
    client._line._shared = Gated(client._line)
    with pytest.raises(Unreachable, match="closed on this side"):
        waiting.result(WAIT_S)


class Slow:
    """A handler that computes on the thread that was lent to it, for longer than the server waits when it closes."""

    ready = True

    def __init__(self):
        self.begun, self.go_on, self.sent = threading.Event(), threading.Event(), threading.Event()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        assert lend
        self.begun.set()
        assert self.go_on.wait(WAIT_S)
        caller.answer(request, self.sent.set)


def test_an_answer_after_the_server_was_closed_counts_as_sent():
    server = listen(SOCKETS["zmq"], slow := Slow())
    client = connect(str(server.address))
    unanswered = client.submit(MESSAGE, LONG_S)
    assert slow.begun.wait(WAIT_S)
    closing = thread(server.close, 0.0)
    while not server._closed:
        time.sleep(0.001)
    with server._shared.lock:
        pass
    slow.go_on.set()
    assert slow.sent.wait(WAIT_S), "the tap would have missed the request"
    client.close()
    assert unanswered.exception(WAIT_S)
    closing.join(WAIT_S)


def test_an_answer_to_an_unknown_client_does_not_hide_a_message_that_arrived_meanwhile():
    """Each use of a ZeroMQ socket may consume the signal of its descriptor, for which another thread waits."""
    context = zmq.Context()
    shared = SharedSocket()
    shared.hold(open_socket(zmq.ROUTER, Timeouts(), {"router_mandatory": 1}, context))
    sender = open_socket(zmq.DEALER, Timeouts(), {}, context)
    try:
        sender.connect(f"tcp://127.0.0.1:{shared.socket.bind_to_random_port('tcp://127.0.0.1')}")
        with shared.lock:
            assert shared.receive() is None
            shared.about_to_wait()
        sender.send(b"hello")
        # Wait for the message without a use of the socket.
        assert shared._poller.poll(20_000)
        # A send within this time would not look for new messages.
        time.sleep(0.05)
        with shared.lock, pytest.raises(zmq.ZMQError):
            shared.send([b"nobody", b"answer"])
        assert shared._poller.poll(0), "the waiting thread is not woken"
    finally:
        sender.close()
        shared.drop()
        shared.close()
        context.term()


def test_a_server_that_breaks_off_again_and_again_delays_no_other_connection(serve):
    """The unread events of one connection must not fill a queue for which ZeroMQ's own thread would wait."""
    first = listen(SOCKETS["zmq"], Echo())
    client = connect(str(first.address))
    client._line._options |= {"reconnect_ivl": 1, "reconnect_ivl_max": 1}
    assert numbers(submit(client, 1)[0]) == [0]
    first.close()
    with socket.create_server(("127.0.0.1", first.address.port)) as breaks_off:
        breaks_off.settimeout(10)
        for _ in range(2500):
            breaks_off.accept()[0].close()
        _, other = serve(SOCKETS["zmq"], held := Held(), Timeouts(connect_s=10.0))
        future = other.submit(MESSAGE, LONG_S)
        held.answer()
        assert numbers(future) == [1]
        client.close()
