"""Closing a side, or waiting for a missing server, blocks no other thread, and all waiting requests fail."""

import socket
import threading
import time

import pytest
import zmq

from cutlayer.errors import Refused, Unreachable, WireError
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.retry import MAX_IN_FLIGHT
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.zmq.frames import open_socket
from cutlayer.wire.zmq.socket import SharedSocket

REAL = {"grpc": "grpc://127.0.0.1:0", "zmq": "zmq://127.0.0.1:0"}
EVERY = {**REAL, "inprocess": "inprocess://closing"}
LONG_S, MESSAGE = 60.0, Message(Kind.INFER, b"\x1a\x01a")


class Keeps:
    """A handler that never answers."""

    ready = True

    def __init__(self):
        self.callers, self.came = [], threading.Semaphore(0)

    def submit(self, request, arrived_ns, caller, *, lend=False):
        self.callers.append(caller)
        self.came.release()


class Refuses:
    """Asks to come again in a while."""

    ready = True

    def __init__(self):
        self.came = threading.Event()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        self.came.set()
        caller.answer(Refused("RESOURCE_EXHAUSTED", "Busy.", 30_000), lambda: None)


@pytest.fixture
def free_port():
    """A port of this machine without a server."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def thread(function, *words):
    started = threading.Thread(target=function, args=words, daemon=True)
    started.start()
    return started


@pytest.mark.parametrize("transport", REAL)
def test_a_wait_for_a_connection_ends_at_the_deadline_of_the_request(transport, free_port):
    """One who may wait long does not hold up one who may not."""
    client = connect(f"{transport}://127.0.0.1:{free_port}", Timeouts(connect_s=8.0))
    patient = client.submit(MESSAGE, LONG_S)
    threading.Event().wait(0.2)
    start = time.monotonic()
    with pytest.raises(WireError):
        client.request(MESSAGE, 0.3)
    assert time.monotonic() - start < 4
    assert not patient.done()
    client.close()


@pytest.mark.parametrize("transport", REAL)
def test_closing_ends_the_wait_for_a_connection(transport, free_port):
    client = connect(f"{transport}://127.0.0.1:{free_port}", Timeouts(connect_s=20.0))
    waiting = client.submit(MESSAGE, LONG_S)
    threading.Event().wait(0.2)
    start = time.monotonic()
    client.close()
    assert time.monotonic() - start < 10
    with pytest.raises(Unreachable):
        waiting.result(0)


def test_closing_ends_the_pause_before_another_attempt():
    server = listen(EVERY["inprocess"], refuses := Refuses())
    client = connect(str(server.address))
    paused = client.submit(MESSAGE, LONG_S)
    assert refuses.came.wait(20)
    start = time.monotonic()
    client.close()
    assert time.monotonic() - start < 10
    with pytest.raises(Unreachable, match="closed on this side"):
        paused.result(0)
    server.close()


@pytest.mark.parametrize("address", EVERY.values(), ids=EVERY)
def test_who_is_not_asked_yet_is_told_too(address):
    """Beside those under way there are those that wait for their turn, and those that come too late."""
    server = listen(address, keeps := Keeps())
    client = connect(str(server.address))
    messages = [Message(Kind.INFER, b"\x1a\x03%03d" % number) for number in range(MAX_IN_FLIGHT + 5)]
    futures = [client.submit(message, 3.0) for message in messages]
    for _ in range(MAX_IN_FLIGHT):
        assert keeps.came.acquire(timeout=20)
    client.close()
    futures.append(client.submit(messages[0], LONG_S))
    for future in futures:
        with pytest.raises(WireError):
            future.result(20)
    server.close(0)


class Gate:
    """The lock of a socket that is closed just before who waits for an answer looks into it."""

    def __init__(self, line):
        self._line, self._real, self._entries = line, line._shared.lock, 0

    def __enter__(self):
        # The first time, it has just been at the socket, and comes back once it has found no answer.
        self._entries += 1
        if self._entries == 2:
            thread(self._line.close)
            while not self._line._shared.socket.closed:
                time.sleep(0.001)
        return self._real.__enter__()

    def __exit__(self, *raised):
        return self._real.__exit__(*raised)


class Gated:
    """A shared socket whose lock is a gate to those who wait for answers."""

    def __init__(self, line):
        self._shared, self._gate = line._shared, Gate(line)

    @property
    def lock(self):
        return self._gate if threading.current_thread().name.startswith("wire-client") else self._shared.lock

    def __getattr__(self, name):
        return getattr(self._shared, name)


def test_a_client_that_turns_to_the_socket_as_it_is_closed_is_told():
    server = listen(REAL["zmq"], keeps := Keeps())
    client = connect(str(server.address))
    waiting = client.submit(MESSAGE, LONG_S)
    assert keeps.came.acquire(timeout=20)
    while not client._line._shared._awaited:
        time.sleep(0.001)
    client._line._shared = Gated(client._line)
    with pytest.raises(Unreachable, match="closed on this side"):
        waiting.result(20)
    client.close()
    server.close(0)


class Slow:
    """Computes on the thread that was lent to it, for longer than the server is patient."""

    ready = True

    def __init__(self):
        self.begun, self.go_on, self.sent = threading.Event(), threading.Event(), threading.Event()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        assert lend
        self.begun.set()
        assert self.go_on.wait(20)
        caller.answer(request, self.sent.set)


def test_an_answer_that_comes_after_the_server_was_closed_reaches_the_tap():
    server = listen(REAL["zmq"], slow := Slow())
    client = connect(str(server.address))
    asked = client.submit(MESSAGE, LONG_S)
    assert slow.begun.wait(20)
    closing = thread(server.close, 0.0)
    while not server._closed:
        time.sleep(0.001)
    with server._shared.lock:
        pass
    slow.go_on.set()
    assert slow.sent.wait(20), "the tap would have missed it"
    client.close()
    assert asked.exception(20)
    closing.join(20)


def test_an_answer_to_somebody_unknown_does_not_hide_what_came_meanwhile():
    """Each use of a ZeroMQ socket may take what its descriptor had to tell to the thread that waits."""
    context = zmq.Context()
    shared = SharedSocket()
    shared.hold(open_socket(zmq.ROUTER, Timeouts(), {"router_mandatory": 1}, context))
    asking = open_socket(zmq.DEALER, Timeouts(), {}, context)
    try:
        asking.connect(f"tcp://127.0.0.1:{shared.socket.bind_to_random_port('tcp://127.0.0.1')}")
        with shared.lock:
            assert shared.receive() is None
            shared.about_to_wait()
        asking.send(b"hello")
        # Until it is there, which is seen without a use of the socket.
        assert shared._poller.poll(20_000)
        # Before that is over, a send does not look at what has come.
        threading.Event().wait(0.05)
        with shared.lock, pytest.raises(zmq.ZMQError):
            shared.send([b"nobody", b"answer"])
        assert shared._poller.poll(0), "the waiting thread is not woken"
    finally:
        asking.close()
        shared.drop()
        shared.close()
        context.term()


def test_a_server_that_breaks_off_again_and_again_costs_the_others_nothing():
    """The news of one connection, unread, must not fill a queue that ZeroMQ's own thread would wait for."""
    with socket.create_server(("127.0.0.1", 0)) as breaks_off:
        client = connect(f"zmq://127.0.0.1:{breaks_off.getsockname()[1]}")
        line = client._line
        line._options |= {"reconnect_ivl": 1, "reconnect_ivl_max": 1}
        with line._shared.lock:
            line._lose(Unreachable("to open another"))
        for _ in range(2500):
            breaks_off.settimeout(10)
            breaks_off.accept()[0].close()
        server = listen(REAL["zmq"], keeps := Keeps())
        other = connect(str(server.address), Timeouts(connect_s=10.0))
        asked = other.submit(MESSAGE, LONG_S)
        assert keeps.came.acquire(timeout=20)
        keeps.callers[0].answer(MESSAGE, lambda: None)
        assert asked.result(20).header == MESSAGE.header
        for one in (other, client, server):
            one.close()
