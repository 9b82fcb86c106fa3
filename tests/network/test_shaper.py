"""Through the relay's own process. Lower bounds are strict; upper ones allow for a machine that is busy elsewhere."""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cutlayer.errors import ConfigError
from cutlayer.network.profiles import NETWORKS, network_named
from cutlayer.network.shaper import APPLICATION_LEVEL, shaped
from cutlayer.wire.connect import connect
from tests.tiny_split import edge_at, images, serving, write_split

PATIENCE_S = 10


@contextlib.contextmanager
def connected(network, n=1, tc=False):
    """Pairs of sockets, the device's and the server's, with the network between them."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.settimeout(PATIENCE_S)
        server = f"grpc://127.0.0.1:{listening.getsockname()[1]}"
        address, _ = stack.enter_context(shaped(server, network, tc=tc))
        pairs = []
        for _ in range(n):
            near = stack.enter_context(socket.create_connection(at(address), PATIENCE_S))
            far = stack.enter_context(listening.accept()[0])
            for end in (near, far):
                end.settimeout(PATIENCE_S)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pairs.append((near, far))
        for near, far in pairs:
            assert ping(near, far) > 0
        yield pairs


def at(address):
    return "127.0.0.1", int(address.rpartition(":")[2])


def ping(near, far):
    """Seconds until one byte has been there and back."""
    start = time.monotonic()
    near.sendall(b"?")
    assert far.recv(1) == b"?"
    far.sendall(b"!")
    assert near.recv(1) == b"!"
    return time.monotonic() - start


def transfer_s(source, sink, n_bytes):
    """Seconds until as many bytes have arrived, unspoilt."""
    data = np.random.default_rng(0).bytes(n_bytes)
    sending = threading.Thread(target=source.sendall, args=(data,))
    start = time.monotonic()
    sending.start()
    got = bytearray()
    while len(got) < n_bytes:
        got += sink.recv(1 << 20)
    took = time.monotonic() - start
    sending.join(PATIENCE_S)
    assert got == data
    return took


def test_a_round_trip_takes_what_the_network_says():
    with connected(network_named("1gbit/20ms")) as [(near, far)]:
        times = [ping(near, far) for _ in range(9)]
    assert min(times) >= 0.04 * 0.95
    assert min(times) <= 0.04 * 1.05 + 0.002


@pytest.mark.parametrize(("direction", "rate_bps"), [("up", 16e6), ("down", 8e6)])
def test_a_bulk_transfer_takes_what_the_rate_says_in_either_direction(direction, rate_bps):
    n_bytes, times = int(rate_bps / 8 * 0.4), []
    with connected(network_named("16mbit:8mbit/5ms")) as [(near, far)]:
        for _ in range(3):
            times.append(transfer_s(*((near, far) if direction == "up" else (far, near)), n_bytes))
            if times[-1] <= 0.405 * 1.05:
                break
    assert min(times) >= 0.405 * 0.95
    assert min(times) <= 0.405 * 1.05 + 0.05


def test_the_kernel_shapes_where_it_may():
    with contextlib.ExitStack() as stack:
        try:
            [(near, far)] = stack.enter_context(connected(network_named("16mbit:8mbit/10ms"), tc=True))
        except ConfigError as error:
            pytest.skip(str(error))
        times = []
        # The least of many: a delay that is applied twice, by the kernel and by the relay, never goes below 40 ms.
        while len(times) < 50 and (len(times) < 5 or min(times) > 0.02 * 1.5):
            times.append(ping(near, far))
        assert 0.02 * 0.95 <= min(times) <= 0.02 * 1.5
        for source, sink, rate_bps in ((near, far, 16e6), (far, near, 8e6)):
            assert 0.4 * 0.9 <= transfer_s(source, sink, int(rate_bps / 8 * 0.4)) <= 0.41 * 1.05 + 0.2


def test_connections_share_the_rate():
    n_bytes = 200_000
    with connected(network_named("16mbit"), 2) as pairs:
        threads = [threading.Thread(target=transfer_s, args=(*pair, n_bytes)) for pair in pairs]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert time.monotonic() - start >= 0.2 * 0.95


def test_connecting_takes_a_round_trip_too():
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = f"zmq://127.0.0.1:{listening.getsockname()[1]}"
        address, _ = stack.enter_context(shaped(server, network_named("1gbit/50ms")))
        start = time.monotonic()
        near = stack.enter_context(socket.create_connection(at(address), PATIENCE_S))
        near.sendall(b"?")
        far = stack.enter_context(listening.accept()[0])
        assert far.recv(1) == b"?"
        assert time.monotonic() - start >= 0.15 * 0.95


def test_an_end_in_one_direction_leaves_the_other_open():
    with connected(network_named("16mbit/5ms")) as [(near, far)]:
        near.sendall(b"last words")
        near.shutdown(socket.SHUT_WR)
        assert far.recv(100, socket.MSG_WAITALL) == b"last words"
        far.sendall(b"understood")
        far.shutdown(socket.SHUT_WR)
        assert near.recv(100, socket.MSG_WAITALL) == b"understood"


def test_a_reset_passes_and_the_next_connection_works():
    with connected(network_named("16mbit/5ms"), 2) as [(near, far), (other_near, other_far)]:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        with pytest.raises(ConnectionResetError):
            near.recv(1)
        assert ping(other_near, other_far) > 0


def test_an_end_that_reads_nothing_stops_the_other():
    with connected(network_named("10gbit")) as [(near, _)]:
        near.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 256 << 20:
                sent += near.send(bytes(1 << 20))
    assert sent < 256 << 20


def test_a_server_that_is_not_there_is_a_reset():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with (
        shaped(f"grpc://127.0.0.1:{port}", NETWORKS["wifi"]) as (address, _),
        socket.create_connection(at(address), PATIENCE_S) as near,
        pytest.raises(ConnectionResetError),
    ):
        near.recv(1)


def test_loopback_is_the_server_itself():
    with shaped("zmq://127.0.0.1:4711", NETWORKS["loopback"], tc=True) as server:
        assert server == ("zmq://127.0.0.1:4711", "unshaped")


def test_an_address_keeps_its_scheme_and_its_model():
    with shaped("oip+grpc://localhost:4711/tail", NETWORKS["wifi"]) as (address, label):
        assert label == APPLICATION_LEVEL == "application-level shaper"
        assert address.startswith("oip+grpc://127.0.0.1:")
        assert address.endswith("/tail")
        assert "4711" not in address


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("grpc://192.0.2.7:8001", "measure that one"),
        ("inprocess://here", "needs the address of a server that listens on TCP"),
        ("grpc://127.0.0.1:0", "needs the address of a server that listens on TCP"),
        ("carrier-pigeon://loft:1", "no transport named"),
    ],
)
def test_what_cannot_be_shaped_is_refused_in_one_sentence(address, says):
    with pytest.raises(ConfigError, match=says), shaped(address, NETWORKS["wifi"]):
        pass


def test_a_shaper_that_cannot_start_says_so():
    within = (sys.executable, "-c", "pass")
    with (
        pytest.raises(ConfigError, match="did not start"),
        shaped("grpc://127.0.0.1:1", NETWORKS["wifi"], within=within),
    ):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_relay_does_not_outlive_whoever_started_it():
    code = (
        "import psutil\n"
        "def children(): return [child.pid for child in psutil.Process().children()]\n"
        "from cutlayer.network.profiles import NETWORKS; from cutlayer.network.shaper import shaped; import time\n"
        "with shaped('grpc://127.0.0.1:1', NETWORKS['wifi']): print(*children(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as starter:
        pid = int(starter.stdout.readline())
        relay = os.pidfd_open(pid)
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait(PATIENCE_S)
    try:
        assert select.select([relay], [], [], PATIENCE_S)[0], "the relay is still there"
    finally:
        os.close(relay)


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_the_networks_time_is_booked_as_network(tmp_path, transport):
    write_split(tmp_path)
    with serving(tmp_path, transport) as near, shaped(str(near.address), network_named("8mbit/20ms")) as (address, _):
        client = connect(address)
        try:
            edge = edge_at(tmp_path, client)
            edge.infer(images(1), 0)
            small = [edge.infer(images(1), index)[1] for index in range(1, 5)]
            large = edge.infer(images(200), 5)[1]
        finally:
            client.close()
    assert all(trace.network_ns >= 40e6 * 0.95 for trace in small)
    assert large.network_ns >= 40e6 + large.tensor_bytes * 8e9 / 8e6 * 0.95
    assert min(trace.end_to_end_ns - trace.network_ns for trace in small) < 40e6
