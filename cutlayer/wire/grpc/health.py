"""The health service of gRPC's own clients, probes and load balancers: `grpc.health.v1.Health`.

Its messages have one field each, so this file encodes them by hand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import grpc

from cutlayer.errors import DecodeError
from cutlayer.wire import training
from cutlayer.wire.grpc.frames import SERVICE
from cutlayer.wire.protobuf import fields

HEALTH = "grpc.health.v1.Health"
SERVICES = ("", SERVICE, training.SERVICE)
"""Names with a known health: empty for the whole server, and the services of inference and training."""

_SERVICE_FIELD, _STATUS_FIELD = 1 << 3 | 2, 1 << 3
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = (bytes((_STATUS_FIELD, status)) for status in (1, 2, 3))

_LOOK_UP_S = 0.1
"""Interval at which a watch checks whether the server is still ready."""


Call = Callable[[bytes, grpc.ServicerContext], Iterable[bytes]]
"""A function from the message of a call to its answers."""


def once(call: Callable[[bytes, grpc.ServicerContext], bytes]) -> Call:
    """Return a call with one answer."""
    return lambda data, context: (call(data, context),)


class Health:
    """The methods Check and Watch: whether a server is `ready`. A watch occupies a thread, like any other call."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._draining = threading.Event()
        self.calls: dict[str, Call] = {f"/{HEALTH}/Check": once(self._check), f"/{HEALTH}/Watch": self._watch}

    def drain(self) -> None:
        """Report NOT_SERVING to all watches and end them."""
        self._draining.set()

    def _status(self) -> bytes:
        return _SERVING if self._ready() and not self._draining.is_set() else _NOT_SERVING

    def _check(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        if _service_name(data, context) not in SERVICES:
            context.abort(grpc.StatusCode.NOT_FOUND, f"This server serves {SERVICE} or {training.SERVICE}.")
        return self._status()

    def _watch(self, data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        known, reported = _service_name(data, context) in SERVICES, b""
        while context.is_active():
            draining = self._draining.is_set()
            status = self._status() if known else _SERVICE_UNKNOWN
            if status != reported:
                reported = status
                yield status
            if draining:
                return
            self._draining.wait(_LOOK_UP_S)


def _service_name(data: bytes, context: grpc.ServicerContext) -> str:
    """Return the name of the service that a health request is about."""
    name = b""
    try:
        for tag, _, start, end in fields(data):
            if tag == _SERVICE_FIELD:
                name = data[start:end]
    except DecodeError as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    return name.decode("utf-8", "replace")
