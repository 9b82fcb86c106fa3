"""The server's end of gRPC: one call for each request, or a stream of those of the Open Inference Protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any, NoReturn

import grpc

from cutlayer import __version__
from cutlayer.errors import DecodeError, Refused, WireError
from cutlayer.wire import open_inference_pb2
from cutlayer.wire.address import Address
from cutlayer.wire.grpc import tls
from cutlayer.wire.grpc.frames import (
    LIMITS,
    PATHS,
    RAW_INPUT_CONTENTS,
    RAW_OUTPUT_CONTENTS,
    RETRY_AFTER,
    SERVICE,
    STREAM,
)
from cutlayer.wire.grpc.handshakes import Handshakes
from cutlayer.wire.grpc.health import Call, Health, once
from cutlayer.wire.grpc.peer import peer_of
from cutlayer.wire.grpc.server_stream import Stream
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.peer import Peer
from cutlayer.wire.places import Places
from cutlayer.wire.protobuf import join, split
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Caller, Handler, Timeouts, refusal
from cutlayer.wire.visitors import Visitors
from cutlayer.wire.watch import Watch

MAX_CALLS = 128
"""Concurrent streams and single calls, each with a thread. Further ones are refused with RESOURCE_EXHAUSTED."""

MAX_CALLS_OF_CONNECTION = 64
"""Concurrent streams and calls of one connection; a client waits with further ones."""

MAX_REFUSALS = 64
"""Calls beyond these that have a thread for as long as it takes to refuse them."""

RETRY_MS = 500
"""Time until a client may ask again for a place."""

HANDSHAKE_S = 10.0
"""Time of a connection for its handshakes: TLS, and that of HTTP/2."""


class GrpcServer:
    """The server's end; see `Server`."""

    def __init__(
        self, address: Address, handler: Handler, timeouts: Timeouts, security: Security, visitors: Visitors
    ) -> None:
        self._admission = tls.Admission(security)
        self._server = grpc.server(
            ThreadPoolExecutor(MAX_CALLS + MAX_REFUSALS, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=MAX_CALLS + MAX_REFUSALS,
            options=[
                *LIMITS,
                ("grpc.so_reuseport", 0),
                ("grpc.max_concurrent_streams", MAX_CALLS_OF_CONNECTION),
                ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_S * 1000)),
                ("grpc.max_connection_idle_ms", int(timeouts.idle_s * 1000)),
                # Without keepalive, the streams of clients that died silently would keep their threads.
                ("grpc.keepalive_time_ms", int(timeouts.heartbeat_s * 1000)),
                ("grpc.keepalive_timeout_ms", int(timeouts.heartbeat_s * 1000)),
                # See the client's options.
                ("grpc.http2.ping_timeout_ms", 2 * int(timeouts.heartbeat_s * 1000)),
                ("grpc.http2.min_ping_interval_without_data_ms", int(timeouts.heartbeat_s * 500)),
            ],
        )
        self._handshakes = Handshakes(visitors)
        self._watch = Watch(visitors, 2 * timeouts.heartbeat_s, self._handshakes.called)
        self._methods = _Methods(handler, self._admission, timeouts, visitors, self._handshakes, self._watch)
        self._server.add_generic_rpc_handlers((self._methods,))
        try:
            port = tls.add_ports(self._server, address, self._admission.credentials(self._handshakes.begun))
        except WireError:
            self._server.stop(None)
            self._handshakes.close()
            raise
        self.address = Address(address.scheme, address.host, port)
        self._handshakes.port = port
        self._server.start()
        self._watch.start(port, self._look)

    def _look(self) -> None:
        self._methods.end_late()
        if changed := self._admission.changed():
            self._watch.end_all(*changed)

    def close(self, grace_s: float = 5.0) -> None:
        """See `Server.close`."""
        stopped = self._server.stop(grace_s)
        self._methods.drain()
        stopped.wait()
        self._methods.join(grace_s)
        self._handshakes.close()
        self._watch.close()


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The methods of the Open Inference Protocol that a server of one model offers, and those of training."""

    def __init__(
        self,
        handler: Handler,
        admission: tls.Admission,
        timeouts: Timeouts,
        visitors: Visitors,
        handshakes: Handshakes,
        watch: Watch,
    ) -> None:
        self._handler, self._admission, self._timeouts = handler, admission, timeouts
        self._visitors, self._handshakes, self._watch = visitors, handshakes, watch
        self._places = Places(MAX_CALLS)
        self._health = Health(lambda: handler.ready)
        self._calls: dict[str, Call] = {
            f"/{SERVICE}/{name}": once(call)
            for name, call in {
                "ServerLive": lambda data, context: open_inference_pb2.ServerLiveResponse(
                    live=True
                ).SerializeToString(),
                "ServerReady": self._server_ready,
                "ServerMetadata": _server_metadata,
                "ModelReady": self._model_ready,
            }.items()
        }
        self._calls |= {path: once(partial(self._handle, kind)) for kind, path in PATHS.items()} | self._health.calls
        # Calls whose message has not arrived, with the time until which it must.
        self._awaited: dict[grpc.ServicerContext, float] = {}
        self._streams: set[Stream] = set()
        self._changed = threading.Condition()
        self._draining = False

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if not tls.admits(self._admission.token, handler_call_details.invocation_metadata):
            return grpc.stream_stream_rpc_method_handler(self._unauthenticated)
        if handler_call_details.method == STREAM:
            stream = Stream(self._handler, self._timeouts.idle_s, self._visitors, self._watch)
            return grpc.stream_stream_rpc_method_handler(
                partial(self._placed, partial(self._serve, stream)), request_deserializer=stream.arrived
            )
        call = self._calls.get(handler_call_details.method)
        if call is None:
            return None
        # gRPC would show a call with one message only once that has arrived, and keep a thread until then.
        return grpc.stream_stream_rpc_method_handler(partial(self._placed, partial(self._call, call)))

    def drain(self) -> None:
        """End the open streams once their requests are answered."""
        self._health.drain()
        with self._changed:
            self._draining = True
            for stream in self._streams:
                stream.drain()

    def end_late(self) -> None:
        """Cancel the calls whose message has not arrived in time."""
        now = time.monotonic()
        for context, until_s in list(self._awaited.items()):
            if now > until_s:
                context.cancel()

    def join(self, timeout_s: float) -> None:
        """Wait until the threads of the streams have ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._streams, timeout_s)

    def _placed(
        self,
        behavior: Callable[[Iterator[Any], Peer, grpc.ServicerContext], Iterator[bytes]],
        requests: Iterator[Any],
        context: grpc.ServicerContext,
    ) -> Iterator[bytes]:
        """Serve a call or stream, if there is a place for its peer."""
        peer = peer_of(context)
        self._handshakes.called(peer.name)
        self._visitors.arrived(peer.name)
        if not self._places.take(peer.party):
            why = "its streams and calls are too many"
            self._visitors.turned_away(peer.name, "limit", f"{why}.")
            _abort(context, Refused("RESOURCE_EXHAUSTED", f"This call is refused: {why}; end some of them.", RETRY_MS))
        try:
            yield from behavior(requests, peer, context)
        finally:
            self._places.leave(peer.party)

    def _call(
        self, call: Call, requests: Iterator[bytes], peer: Peer, context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        """Answer a call with one message, which must arrive in time."""
        self._awaited[context] = time.monotonic() + 2 * self._timeouts.heartbeat_s
        try:
            data = next(requests, None)
        finally:
            del self._awaited[context]
        if data is None:
            _abort(context, Refused("INVALID_ARGUMENT", "The call has ended without a message."))
        self._watch.arrived(peer.name, len(data))
        yield from call(data, context)

    def _unauthenticated(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
        peer, why = peer_of(context).name, "The token is missing or wrong"
        self._handshakes.called(peer)
        self._visitors.turned_away(peer, "token", f"{why}.")
        _abort(context, Refused("UNAUTHENTICATED", f"{why}; give the server's token with --token-file."))

    def _serve(
        self, stream: Stream, requests: Iterator[bool], peer: Peer, context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        with self._changed:
            if self._draining:
                stream.drain()
            self._streams.add(stream)
        try:
            yield from stream.serve(requests, peer, context)
        finally:
            with self._changed:
                self._streams.discard(stream)
                self._changed.notify_all()

    def _handle(self, kind: Kind, data: bytes, context: grpc.ServicerContext) -> bytes:
        arrived_ns = time.monotonic_ns()
        try:
            header, tensors, _ = split(data, RAW_INPUT_CONTENTS)
        except DecodeError as error:
            refused = refusal(error)
            self._visitors.refused(peer_of(context).name, refused.code, str(refused))
            _abort(context, refused)
        reply = self._reply(Message(kind, header, tensors), arrived_ns, context)
        if isinstance(reply, Refused):
            _abort(context, reply)
        return join(reply.header, reply.tensors, RAW_OUTPUT_CONTENTS)

    def _reply(self, request: Message, arrived_ns: int, context: grpc.ServicerContext) -> Message | Refused:
        """Return the handler's answer, or a refusal once the client has left."""
        replies: SimpleQueue[Message | Refused] = SimpleQueue()

        def ended() -> None:
            replies.put(Refused("CANCELLED", "The client closed its connection."))

        def answer(reply: Message | Refused, sent: Callable[[], None]) -> None:
            # gRPC runs the callback after it has sent the answer and its status.
            if not context.add_callback(sent):
                sent()
            replies.put(reply)

        if not context.add_callback(ended):
            ended()
        caller = Caller(peer_of(context), lambda: not context.is_active(), answer)
        self._handler.submit(request, arrived_ns, caller, lend=True)
        return replies.get()

    def _server_ready(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        return open_inference_pb2.ServerReadyResponse(ready=self._handler.ready).SerializeToString()

    def _model_ready(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        # ModelReadyRequest and ModelMetadataRequest have the same fields.
        reply = self._reply(Message(Kind.METADATA, data), time.monotonic_ns(), context)
        if isinstance(reply, Refused) and reply.code == "INVALID_ARGUMENT":
            _abort(context, reply)
        return open_inference_pb2.ModelReadyResponse(ready=not isinstance(reply, Refused)).SerializeToString()


def _abort(context: grpc.ServicerContext, refused: Refused) -> NoReturn:
    if refused.retry_after_ms:
        context.set_trailing_metadata(((RETRY_AFTER, str(refused.retry_after_ms)),))
    context.abort(getattr(grpc.StatusCode, refused.code, grpc.StatusCode.UNKNOWN), str(refused))
    raise AssertionError("gRPC's abort raises.")


def _server_metadata(data: bytes, context: grpc.ServicerContext) -> bytes:
    return open_inference_pb2.ServerMetadataResponse(name="cutlayer", version=__version__).SerializeToString()
