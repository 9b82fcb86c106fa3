"""The proxy does what its name says, or no test through it means anything."""

import contextlib
import socket
import threading
import time

import pytest

from tests.faults.proxy import Proxy


@pytest.fixture
def echo():
    """Port of a server that sends back what it gets, to any number of connections."""
    listening = socket.create_server(("127.0.0.1", 0))
    threads = []

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=answer, args=(listening.accept()[0],)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    for thread in (accepting, *threads):
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def proxy(echo):
    with Proxy("127.0.0.1", echo) as running:
        yield running


def open_to(proxy):
    connection = socket.create_connection(("127.0.0.1", proxy.port))
    connection.settimeout(10)
    return connection


def receive(connection, n):
    data = b""
    while len(data) < n and (more := connection.recv(n - len(data))):
        data += more
    return data


DATA = bytes(range(256)) * 400


def test_without_a_fault_everything_passes(proxy):
    with open_to(proxy) as first, open_to(proxy) as second:
        for connection in (first, second):
            connection.sendall(DATA)
            assert receive(connection, len(DATA)) == DATA
    assert proxy.up.passed == proxy.down.passed == 2 * len(DATA)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("after", [0, 10, 70_000])
def test_bytes_before_a_cut_pass(proxy, direction, after):
    link = getattr(proxy, direction)
    link.fail("cut", after)
    with open_to(proxy) as connection:
        connection.sendall(DATA)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            received = receive(connection, len(DATA))
        assert link.failed.is_set()
        assert link.passed == after
        assert DATA.startswith(received)
    with open_to(proxy) as connection:
        connection.sendall(DATA)
        assert receive(connection, len(DATA)) == DATA


def test_a_reset_arrives_as_a_reset(proxy):
    proxy.down.fail("reset", 5)
    with open_to(proxy) as connection:
        connection.sendall(DATA)
        with pytest.raises(ConnectionResetError):
            receive(connection, len(DATA))


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_flip_changes_one_bit(proxy, direction):
    getattr(proxy, direction).fail("flip", 1000)
    with open_to(proxy) as connection:
        connection.sendall(DATA)
        received = receive(connection, len(DATA))
    assert [(at, a ^ b) for at, (a, b) in enumerate(zip(DATA, received, strict=True)) if a != b] == [(1000, 1)]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_stalled_bytes_arrive_once_healed(proxy, direction):
    getattr(proxy, direction).fail("stall", 10)
    with open_to(proxy) as connection, open_to(proxy) as other:
        connection.sendall(DATA)
        assert receive(connection, 10) == DATA[:10]
        other.sendall(b"others go on")
        assert receive(other, 12) == b"others go on"
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(10)
        proxy.heal()
        assert receive(connection, len(DATA) - 10) == DATA[10:]


def test_bytes_are_late_by_the_delay_and_the_rate(proxy):
    proxy.up.delay_s = proxy.down.delay_s = 0.05
    with open_to(proxy) as connection:
        start = time.monotonic()
        connection.sendall(b"there and back")
        assert receive(connection, 14) == b"there and back"
        assert time.monotonic() - start >= 0.1
        proxy.up.delay_s = proxy.down.delay_s = 0
        proxy.up.rate_bps = 8 * len(DATA) / 0.2
        start = time.monotonic()
        connection.sendall(DATA)
        assert receive(connection, len(DATA)) == DATA
        assert time.monotonic() - start >= 0.2


def test_dropping_all_connections_resets_them(proxy):
    with open_to(proxy) as connection:
        connection.sendall(b"here")
        assert receive(connection, 4) == b"here"
        proxy.drop_all()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
