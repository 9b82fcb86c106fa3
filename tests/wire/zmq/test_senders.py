"""Who a message is from does not depend on when it is received: its connection may be closed, or another's, by then."""

import os
import threading
from contextlib import ExitStack

import pytest
import zmq

from cutlayer.wire import certs
from cutlayer.wire.connect import listen
from cutlayer.wire.security import Security
from cutlayer.wire.sockets import Sockets
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.zmq.curve import client_options
from cutlayer.wire.zmq.frames import open_socket, pack
from tests.wire.ends import SOCKETS, WAIT_S, Held, message
from tests.wire.zmq.test_departures import wait_until

CLIENTS = ("first", "second")


class Holding(Held):
    """A handler that keeps requests. In the first one it keeps the thread that receives, until `go_on` is set."""

    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        super().submit(request, arrived_ns, caller)
        assert self.go_on.wait(WAIT_S)


class Device:
    """A socket with the key of a client, connected to the server."""

    def __init__(self, keys, name, opened):
        self.files = Security(
            curve_key=keys / name / "curve-client.key", curve_server=keys / "first" / "curve-server.pub"
        )
        self.key = (keys / "allow" / f"{name}.pub").read_text().strip()
        self.socket = open_socket(zmq.DEALER, Timeouts(), client_options(self.files))
        opened.callback(self.socket.close, 0)

    def connect(self, address, host):
        self.host, self.endpoint = host, f"tcp://{host}:0;127.0.0.1:{address.port}"
        self.socket.connect(self.endpoint)

    def leave(self, server):
        """Close the connection, and wait until the server's end is closed too."""
        self.socket.disconnect(self.endpoint)
        # A socket goes on with that while it is used.
        wait_until(lambda: not self.socket.poll(10) and not descriptors(server))

    def send(self, number):
        self.socket.send_multipart(pack(message(number), number + 1))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The keys of a server and of the clients, in a folder each, and the list of the clients."""
    keys = tmp_path_factory.mktemp("keys")
    (keys / "allow").mkdir()
    for name in CLIENTS:
        certs.init(keys / name, ())
        (keys / "allow" / f"{name}.pub").write_bytes((keys / name / "clients" / "client.pub").read_bytes())
    return keys


@pytest.fixture
def held(keys):
    """A server that receives no more yet, its handler, the caller of a first device's request, and two devices."""
    with ExitStack() as opened:
        handler = Holding()
        files = Security(curve_key=keys / "first" / "curve-server.key", allow=keys / "allow")
        server = listen(SOCKETS["zmq"], handler, security=files)
        opened.callback(server.close, 0)
        opened.callback(handler.go_on.set)
        # It opens files now and then, which could have a descriptor that is to be that of a connection.
        server._watch.close()
        first, second = (Device(keys, name, opened) for name in CLIENTS)
        below = os.dup(server._departures.descriptor)
        first.connect(server.address, "127.0.0.1")
        first.send(0)
        ((_, caller),) = handler.take()
        os.close(below)
        yield server, handler, caller, first, second


def waits(server):
    """Whether a message has arrived that was not received yet."""
    with server._shared.lock:
        return server._shared.readable()


def left(server, caller):
    """Let the server see who has left; return whether this caller has."""
    server._departures.look()
    return caller.gone()


def descriptors(server):
    """The descriptors of the server's connections."""
    return [key.descriptor for key in Sockets(server.address.port).look()]


def connect_at(descriptor, device, server, host):
    """Connect a device, and let the server's end of it have a descriptor that is free; return whether it has.

    The system gives the lowest free one. So the device's end gets one below it, and no other one below is free.
    """
    below = []
    while (taken := os.dup(server._departures.descriptor)) < descriptor:
        below.append(taken)
    os.close(taken)
    os.close(below.pop(0))
    device.connect(server.address, host)
    wait_until(lambda: descriptors(server))
    for taken in below:
        os.close(taken)
    if descriptors(server) == [descriptor]:
        return True
    # Another thread of this process has opened or closed something meanwhile.
    device.leave(server)
    return False


def senders(handler, n):
    """Let the server receive; return who the next n messages are from, by number."""
    handler.go_on.set()
    return {int(request.header[2:]): caller.peer for request, caller in handler.take(n)}


def test_a_message_of_a_closed_connection_is_from_who_has_sent_it(held):
    server, handler, caller, first, _ = held
    first.send(1)
    wait_until(lambda: waits(server))
    first.leave(server)
    wait_until(lambda: left(server, caller))
    late = senders(handler, 1)[1]
    assert late.identity == first.key
    assert late._replace(name=caller.peer.name) == caller.peer


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen"])
def test_a_descriptor_that_is_used_again_is_no_identity(held, seen):
    """The second device gets the first one's, which the server has seen, or not, when it receives."""
    server, handler, _, first, second = held
    if seen:
        first.send(1)
        wait_until(lambda: waits(server))
    (descriptor,) = descriptors(server)
    first.leave(server)
    wait_until(lambda: connect_at(descriptor, second, server, "127.0.0.2"))
    second.send(2)
    wait_until(lambda: waits(server))
    if seen:
        server._departures.look()
    second.send(3)
    expected = {2: second, 3: second} | ({1: first} if seen else {})
    found = senders(handler, len(expected))
    assert {number: peer.party for number, peer in found.items()} == {
        number: (device.key, device.host) for number, device in expected.items()
    }
