"""The client's end of the Open Inference Protocol over gRPC.

The serializers pass bytes through, so that a tensor never becomes part of a protobuf object. Inference goes over one
stream that lives as long as the connection, because a separate call costs more time than sending a small tensor.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from queue import Empty
from typing import Any

import grpc

from cutlayer.errors import ConnectionLost, DeadlineExceeded, Refused, StreamReset, Unreachable, WireError
from cutlayer.foreign import shown
from cutlayer.wire.address import Address
from cutlayer.wire.grpc import tls
from cutlayer.wire.grpc.client_stream import Answer, ClientStream
from cutlayer.wire.grpc.frames import LIMITS, LIVE, PATHS, RAW_INPUT_CONTENTS, RAW_OUTPUT_CONTENTS, RETRY_AFTER
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.protobuf import join, split
from cutlayer.wire.reach import Endpoint, Reason, look_up
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts

_LOOK_UP_S = 0.05
"""Pause between two attempts to reach a server that does not answer."""

_TORN = "Stream removed"
"""How gRPC describes a call whose connection was lost in a way that has no status code."""

_CLOSING_S = 1.0
"""How long a channel may take to close."""

_RESET = re.compile(r"RST_STREAM|http/?2", re.IGNORECASE)
"""Part of how gRPC describes a call that HTTP/2 ended, and not the method that was called."""


class GrpcClient:
    """The client's end; see `Line`."""

    def __init__(self, address: Address, timeouts: Timeouts, security: Security) -> None:
        self._address, self._timeouts, self._security = address, timeouts, security
        self._encryption = tls.credentials(security)
        self._token = tls.token_metadata(security.token())
        self._opening = threading.Lock()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._channel: grpc.Channel | None = None
        self._stream: ClientStream | None = None
        self._connected = self._closed = False

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Line.request`."""
        try:
            if not self._connected:
                self._connect(timeout_s)
            return self._request(message, timeout_s)
        except ValueError:
            # gRPC raises this when another thread closes the channel.
            if not self._closed:
                raise ConnectionLost(f"The connection to {self._address} was lost.") from None
            raise Unreachable.closed(self._address) from None

    def _request(self, message: Message, timeout_s: float) -> Message:
        if message.kind is not Kind.INFER:
            return self._call(message, timeout_s)
        data = join(message.header, message.tensors, RAW_INPUT_CONTENTS)
        _, _, request_id = split(message.header, RAW_INPUT_CONTENTS)
        stream, answer = self._send(request_id, data)
        try:
            reply_or_error = answer.get(timeout=timeout_s)
        except Empty:
            stream.forget(request_id)
            raise DeadlineExceeded(f"{self._address} did not answer within {timeout_s:g} s.") from None
        if isinstance(reply_or_error, WireError):
            raise reply_or_error
        return reply_or_error

    def close(self) -> None:
        """See `Line.close`."""
        self._closed = True
        with self._opening:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        if self._channel is not None:
            _close(self._channel)

    def _call(self, message: Message, timeout_s: float) -> Message:
        """Make a request by a call of its own."""
        if self._closed:
            raise Unreachable.closed(self._address)
        data = join(message.header, message.tensors, RAW_INPUT_CONTENTS)
        try:
            reply = self._calls[message.kind](data, timeout=timeout_s, metadata=self._token)
        except grpc.RpcError as error:
            raise self._error(error, timeout_s) from None
        header, tensors, _ = split(reply, RAW_OUTPUT_CONTENTS)
        return Message(message.kind, header, tensors)

    def _send(self, request_id: str, data: bytes) -> tuple[ClientStream, Answer]:
        with self._opening:
            if self._closed:
                raise Unreachable.closed(self._address)
            if self._stream is None or self._stream.over:
                self._stream = ClientStream(self._channel, self._token, self._error)
            stream = self._stream
        answer = stream.send(request_id, data)
        if answer is None:
            raise ConnectionLost(f"The connection to {self._address} was lost.")
        return stream, answer

    def _connect(self, timeout_s: float) -> None:
        """Call ServerLive until the server answers. Raises `Unreachable`, or `Refused` if the server refuses."""
        patience_s = min(timeout_s, self._timeouts.connect_s)
        deadline = time.monotonic() + patience_s
        diagnosed = False
        with contextlib.closing(Reason(self._address, patience_s)) as reason:
            while (left_s := deadline - time.monotonic()) > 0 and not self._closed:
                if self._found(left_s, reason):
                    if self._lives(deadline, reason):
                        break
                    # gRPC retries a failed TLS handshake and hides its reason; with wrong files, a retry cannot help.
                    left_s = 0.0 if diagnosed else deadline - time.monotonic()
                    if left_s > 0 and (fault := tls.handshake_fault(self._address, self._security, left_s)):
                        raise Refused("UNAUTHENTICATED", fault)
                    diagnosed = True
                time.sleep(_LOOK_UP_S)
            else:
                raise Unreachable.closed(self._address) if self._closed else reason.error()
        self._connected = True

    def _found(self, timeout_s: float, reason: Reason) -> bool:
        """Look the server's name up and use its addresses; return False if that fails for now."""
        try:
            # Each time, because the addresses may have changed since the connection was lost.
            endpoints = look_up(self._address, timeout_s, self._endpoints)
        except Unreachable as error:
            reason.no_name(error)
            return False
        self._open(endpoints)
        return True

    def _lives(self, deadline: float, reason: Reason) -> bool:
        """Return whether the server answers; False if it cannot be reached yet."""
        live = self._live.future(b"", timeout=deadline - time.monotonic(), metadata=self._token)
        try:
            if (first_s := reason.half_way - time.monotonic()) > 0:
                with contextlib.suppress(grpc.FutureTimeoutError):
                    live.result(first_s)
                    return True
            reason.ask(self._endpoints)
            live.result()
        except grpc.RpcError as error:
            code = error.code()
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                reason.ask(self._endpoints)
                return False
            if code is not grpc.StatusCode.UNIMPLEMENTED:
                raise self._error(error) from None
        return True

    def _open(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Use a channel to these addresses from now on."""
        with self._opening:
            if self._closed or set(endpoints) == set(self._endpoints):
                return
            old, self._stream = self._channel, None
            self._endpoints = endpoints
            channel = tls.channel(self._address, endpoints, self._encryption, _options(self._timeouts))
            self._calls = {kind: channel.unary_unary(path) for kind, path in PATHS.items()}
            self._live = channel.unary_unary(LIVE)
            self._channel = channel
        if old is not None:
            _close(old)

    def _error(self, error: Any, timeout_s: float = 0.0) -> WireError:
        code, details = error.code(), error.details()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and timeout_s:
            return DeadlineExceeded(f"{self._address} did not answer within {timeout_s:g} s.")
        if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and _RESET.search(details or ""):
            return StreamReset(
                f"A proxy in front of {self._address}, or the server itself, ended the stream ({shown(details)}); let "
                "the proxy pass long streams and large bodies, such as with client_max_body_size 0 in nginx."
            )
        torn = code is grpc.StatusCode.UNKNOWN and (details or "").startswith(_TORN)
        if torn or code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.OK):
            self._connected = False
            return ConnectionLost(f"The connection to {self._address} was lost: {details or 'the server ended it'}")
        trailing = dict(error.trailing_metadata() or ())
        retry_after = str(trailing.get(RETRY_AFTER, ""))
        return Refused(code.name, details, int(retry_after) if retry_after.isdecimal() else 0)


def _close(channel: grpc.Channel) -> None:
    """Close a channel, and leave it where that does not end.

    A signal that raises while gRPC begins a call, such as Ctrl-C, leaves a call that never ends; `Channel.close` waits
    for it without a limit.
    """
    closing = threading.Thread(target=channel.close, name="grpc-close", daemon=True)
    closing.start()
    closing.join(_CLOSING_S)


def _options(timeouts: Timeouts) -> list[tuple[str, int]]:
    return [
        *LIMITS,
        ("grpc.keepalive_time_ms", int(timeouts.heartbeat_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(timeouts.heartbeat_s * 1000)),
        # Without it gRPC waits a minute for a silent peer, whatever keepalive_timeout_ms is. Twice the heartbeat, since
        # gRPC also pings while a tensor is being sent, and the ping waits behind the tensor.
        ("grpc.http2.ping_timeout_ms", 2 * int(timeouts.heartbeat_s * 1000)),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Despite its name, the time limit of one connection attempt. With round trips of a second and more, the TCP and
        # HTTP/2 handshakes take several seconds.
        ("grpc.min_reconnect_backoff_ms", int(timeouts.connect_s * 1000)),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # Clients share no connection, so that one client's failure and back-off do not affect another.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
    ]
