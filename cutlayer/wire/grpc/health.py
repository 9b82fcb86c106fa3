"""The health service that gRPC's own clients, probes and load balancers ask: `grpc.health.v1.Health`.

Its messages have one field each, so they are written here by hand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import grpc

from cutlayer.errors import DecodeError
from cutlayer.wire.grpc.frames import SERVICE
from cutlayer.wire.protobuf import fields

HEALTH = "grpc.health.v1.Health"
SERVICES = ("", SERVICE)
"""Those whose health is known: the server as a whole, and the one that it is for."""

_SERVICE_FIELD, _STATUS_FIELD = 1 << 3 | 2, 1 << 3
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = (bytes((_STATUS_FIELD, status)) for status in (1, 2, 3))

_LOOK_UP_S = 0.1
"""How often a watch looks whether the server is still ready."""


class Health:
    """Check and Watch. A watch takes a thread, as any other call does.

    Args:
        ready: Whether requests are taken at present.
    """

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._draining = threading.Event()
        self.methods = {
            f"/{HEALTH}/Check": grpc.unary_unary_rpc_method_handler(self._check),
            f"/{HEALTH}/Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    def drain(self) -> None:
        """Tell those who watch that it is over, and let them go."""
        self._draining.set()

    def _status(self) -> bytes:
        return _SERVING if self._ready() and not self._draining.is_set() else _NOT_SERVING

    def _check(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        if _asked(data, context) not in SERVICES:
            context.abort(grpc.StatusCode.NOT_FOUND, f"This server serves {SERVICE}.")
        return self._status()

    def _watch(self, data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        known, told = _asked(data, context) in SERVICES, b""
        while context.is_active():
            draining = self._draining.is_set()
            status = self._status() if known else _SERVICE_UNKNOWN
            if status != told:
                told = status
                yield status
            if draining:
                return
            self._draining.wait(_LOOK_UP_S)


def _asked(data: bytes, context: grpc.ServicerContext) -> str:
    """The service whose health is asked for."""
    name = b""
    try:
        for tag, _, start, end in fields(data):
            if tag == _SERVICE_FIELD:
                name = data[start:end]
    except DecodeError as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    return name.decode("utf-8", "replace")
