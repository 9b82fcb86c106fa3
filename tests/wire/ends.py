"""Handlers of servers that a test controls, numbered requests for them, and the addresses of every transport."""

import threading

import pytest

from cutlayer.wire.message import Kind, Message

SOCKETS = {"grpc": "grpc://127.0.0.1:0", "zmq": "zmq://127.0.0.1:0"}
EVERY = {**SOCKETS, "inprocess": "inprocess://ends"}
WAIT_S = 20

each_socket = pytest.mark.parametrize("address", SOCKETS.values(), ids=SOCKETS)
each_transport = pytest.mark.parametrize("address", EVERY.values(), ids=EVERY)


def nothing():
    """Do nothing after an answer has been sent."""


class Echo:
    """A handler that answers at once with the request itself."""

    ready = True

    def submit(self, request, arrived_ns, caller, *, lend=False):
        caller.answer(request._replace(tensors=tuple(map(bytes, request.tensors))), nothing)


class Held:
    """A handler that keeps requests with their callers, and passes them on to another handler if there is one."""

    ready = True

    def __init__(self, handler=None):
        self.handler, self.arrived, self.changed = handler, [], threading.Condition()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        with self.changed:
            self.arrived.append((request, caller))
            self.changed.notify_all()
        if self.handler is not None:
            self.handler.submit(request, arrived_ns, caller)

    def take(self, n=1):
        """The next n requests with their callers."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.arrived) >= n, WAIT_S), "the requests did not arrive"
            taken, self.arrived = self.arrived[:n], self.arrived[n:]
        return taken

    def answer(self, n=1):
        for request, caller in self.take(n):
            caller.answer(request, nothing)


def message(number):
    # Over gRPC a header is a protobuf message: the tag of `id`, a length, the text.
    return Message(Kind.INFER, b"\x1a\x08%08d" % number)


def submit(client, n):
    """Submit requests with the numbers 0 to n - 1."""
    return [client.submit(message(number), WAIT_S) for number in range(n)]


def numbers(*futures):
    """The numbers of the requests that the answers repeat."""
    return [int(future.result(WAIT_S).header[2:]) for future in futures]
