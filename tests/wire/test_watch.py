"""Nobody takes all places: connections, calls, and the memory of messages that do not get finished."""

import contextlib
import socket
import time
from queue import SimpleQueue

import grpc
import pytest
import zmq

from cutlayer.errors import Refused
from cutlayer.machine.compute import resident_bytes
from cutlayer.wire import watch
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.grpc import server as grpc_server
from cutlayer.wire.grpc.frames import STREAM
from cutlayer.wire.grpc.health import HEALTH
from cutlayer.wire.places import SHARE, Places
from cutlayer.wire.sockets import Sockets
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.visitors import Visitors
from tests.wire.ends import SOCKETS, WAIT_S, Echo, each_socket, message
from tests.wire.zmq.test_departures import wait_until


def test_one_party_leaves_places_for_others():
    places = Places(128)
    assert sum(places.take("one") for _ in range(200)) == 128 * SHARE // (SHARE + 1)
    assert sum(places.take("two") for _ in range(200)) == 24
    assert places.take("three")
    for _ in range(96):
        places.leave("one")
    assert sum(places.take("two") for _ in range(200)) > 60


def test_few_places_are_places():
    places = Places(1)
    assert places.take("one")
    assert not places.take("two")
    places.leave("one")
    assert places.take("two")


@pytest.fixture
def served(request):
    """A function that serves an echo, and gives its address and the log of the server."""
    with contextlib.ExitStack() as opened:

        def start(scheme, timeouts=None):
            visitors = Visitors()
            server = listen(SOCKETS[scheme], Echo(), timeouts, visitors=visitors)
            opened.callback(server.close, 0)
            return server.address, visitors

        yield start


def ask(address):
    with contextlib.closing(connect(str(address))) as client:
        return client.request(message(1), WAIT_S)


def limited(visitors):
    return visitors.counts()[1].get("limit", 0)


@pytest.mark.parametrize("scheme", SOCKETS)
def test_silent_connections_shut_nobody_out(served, scheme, monkeypatch):
    monkeypatch.setattr(watch, "MAX_CONNECTIONS", 8)
    address, visitors = served(scheme)
    with contextlib.closing(connect(str(address))) as old, contextlib.ExitStack() as opened:
        assert old.request(message(1), WAIT_S)
        for _ in range(30):
            opened.enter_context(socket.create_connection((address.host, address.port)))
        wait_until(lambda: limited(visitors) >= 30 - 8)
        assert ask(address)
        # Who was heard keeps its connection.
        assert old.request(message(2), WAIT_S)


@pytest.mark.parametrize("scheme", SOCKETS)
def test_a_message_that_stops_on_its_way_ends_its_connection_only(served, scheme):
    address, visitors = served(scheme, Timeouts(heartbeat_s=0.3))
    with contextlib.closing(connect(str(address))) as client, half_sent(address) as stopped:
        stopped.settimeout(0.05)
        until = time.monotonic() + WAIT_S
        while not over(stopped):
            assert client.request(message(1), WAIT_S)
            assert time.monotonic() < until
        assert client.request(message(2), WAIT_S)
    # The heartbeat may be first, since nobody answers it.
    assert limited(visitors) <= 1


def over(connection):
    try:
        return not connection.recv(1 << 16)
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("scheme", SOCKETS)
def test_unfinished_messages_fit_in_a_budget(served, scheme, monkeypatch):
    monkeypatch.setattr(watch, "MAX_UNFINISHED_BYTES", 1 << 20)
    address, visitors = served(scheme)
    with contextlib.ExitStack() as opened:
        for _ in range(4):
            opened.enter_context(half_sent(address, 400_000))
        wait_until(lambda: limited(visitors))
        # A whole message of the largest size is taken.
        large = message(1)._replace(tensors=(bytes(900_000),))
        with contextlib.closing(connect(str(address))) as client:
            for _ in range(5):
                assert client.request(large, WAIT_S).tensors[0] == large.tensors[0]


@pytest.mark.parametrize("scheme", SOCKETS)
def test_memory_from_before_a_message_is_not_its_own(served, scheme, monkeypatch):
    monkeypatch.setattr(watch, "MAX_OVERHEAD_BYTES", resident_bytes() // 2)
    # So that the message is there at the first look.
    monkeypatch.setattr(watch, "LOOK_S", 0.4)
    address, visitors = served(scheme)
    with half_sent(address) as connection:
        connection.settimeout(0.05)
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            assert not over(connection)
    assert limited(visitors) == 0


@contextlib.contextmanager
def half_sent(address, nbytes=200_000):
    """A connection with the first bytes of a message of 16 MB."""
    with socket.create_connection((address.host, address.port)) as connection:
        if address.scheme == "zmq":
            properties = b"\x0bSocket-Type\x00\x00\x00\x06DEALER"
            connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
            connection.sendall(b"\x04" + bytes((6 + len(properties),)) + b"\x05READY" + properties)
            connection.sendall(b"\x02" + (16 << 20).to_bytes(8, "big") + bytes(nbytes))
        else:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _h2(4, 0, b""))
            fields = {":method": "POST", ":scheme": "http", ":path": STREAM, ":authority": "a", "te": "trailers"}
            fields["content-type"] = "application/grpc"
            block = b"".join(
                b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
                for name, value in fields.items()
            )
            connection.sendall(_h2(1, 4, block, 1))
            data = b"\x00" + (16 << 20).to_bytes(4, "big") + bytes(nbytes)
            # Within the window of a new stream, until gRPC has opened it.
            connection.sendall(b"".join(_h2(0, 0, data[at : at + 16000], 1) for at in range(0, 60_000, 16000)))
            time.sleep(0.2)
            connection.sendall(b"".join(_h2(0, 0, data[at : at + 16000], 1) for at in range(64_000, len(data), 16000)))
        yield connection


def _h2(kind, flags, payload, stream=0):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def test_a_message_of_many_frames_bars_its_sender(served):
    address, visitors = served("zmq")
    context = zmq.Context()
    with contextlib.closing(connect(str(address))) as client, context.socket(zmq.DEALER) as hostile:
        assert client.request(message(1), WAIT_S)
        hostile.linger = 0
        hostile.connect(f"tcp://{address.netloc}")
        for _ in range(3000):
            hostile.send(b"x", zmq.SNDMORE)
        hostile.send(b"x")
        wait_until(lambda: limited(visitors))
        assert client.request(message(2), WAIT_S)
        # Nobody new from its network is let in for a while.
        with socket.create_connection((address.host, address.port)) as connection:
            connection.settimeout(WAIT_S)
            while connection.recv(1024):
                pass
    context.term()


@pytest.mark.parametrize("path", [STREAM, f"/{HEALTH}/Watch", "/inference.GRPCInferenceService/ModelInfer"])
def test_calls_of_one_client_are_limited(served, path, monkeypatch):
    monkeypatch.setattr(grpc_server, "MAX_CALLS", 8)
    address, visitors = served("grpc")
    with grpc.insecure_channel(address.netloc) as channel:
        silence: SimpleQueue[bytes] = SimpleQueue()
        calls = [
            channel.stream_stream(path)(
                iter([b""]) if path.endswith("Watch") else iter(silence.get, None), timeout=WAIT_S
            )
            for _ in range(12)
        ]
        wait_until(lambda: sum(call.done() for call in calls) >= 6)
        codes = {call.code() for call in calls if call.done()}
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert limited(visitors) >= 6
        for call in calls:
            call.cancel()
            silence.put(None)
    until = time.monotonic() + WAIT_S
    while True:
        # The places are free again once the server has noticed.
        with contextlib.suppress(Refused):
            assert ask(address)
            break
        assert time.monotonic() < until


@each_socket
def test_the_bytes_of_messages_are_counted_as_those_of_the_network(address):
    visitors = Visitors()
    server = listen(address, Echo(), visitors=visitors)
    with contextlib.closing(connect(str(server.address))) as client:
        for _ in range(20):
            client.request(message(1)._replace(tensors=(bytes(300_000),)), WAIT_S)
        sockets = Sockets(server.address.port)
        (key,) = sockets.look()
        assert 6_000_000 < sockets.received(key) < 6_200_000
        watched = server._watch
        # A look may come when the bytes of the last message have arrived, and the message is not finished yet.
        wait_until(
            lambda: any(
                c.heard and c.received > 6_000_000 and c.unfinished <= watch.SLACK_BYTES
                for c in list(watched._connections.values())
            )
        )
    server.close(0)
    assert limited(visitors) == 0
