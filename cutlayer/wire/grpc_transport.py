"""The Open Inference Protocol over gRPC.

Identity serializers on both sides: a message is bytes, and its tensors never become part of a protobuf object.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, NoReturn

import grpc

from cutlayer import __version__
from cutlayer.errors import DeadlineExceeded, DecodeError, Refused, Unreachable, WireError
from cutlayer.wire import open_inference_pb2
from cutlayer.wire.message import MAX_MESSAGE_BYTES, Kind, Message
from cutlayer.wire.raw_contents import join, split
from cutlayer.wire.transport import Address, Handler, Timeouts, refusal

SERVICE = "inference.GRPCInferenceService"
RAW_INPUT_CONTENTS, RAW_OUTPUT_CONTENTS = 7, 6

RETRY_AFTER = "retry-after-ms"
"""Trailing metadata of a refusal: when to ask again."""

WORKERS = 16
MAX_WAITING = 64
"""Requests in the server at a time, being worked on or waiting; further ones are refused with RESOURCE_EXHAUSTED."""

_PATHS = {Kind.INFER: f"/{SERVICE}/ModelInfer", Kind.METADATA: f"/{SERVICE}/ModelMetadata"}
_LIMITS = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]


class Grpc:
    """The client's end; see `Transport`."""

    def __init__(self, address: Address, timeouts: Timeouts) -> None:
        self._address, self._timeouts = address, timeouts
        self._channel = grpc.insecure_channel(
            address.netloc,
            options=[
                *_LIMITS,
                ("grpc.keepalive_time_ms", int(timeouts.heartbeat_s * 1000)),
                ("grpc.keepalive_timeout_ms", int(timeouts.heartbeat_s * 1000)),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
                # One client's broken connection, and its back-off, are not another's.
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
                ("grpc.enable_http_proxy", 0),
            ],
        )
        self._calls = {kind: self._channel.unary_unary(path) for kind, path in _PATHS.items()}
        self._connected = False

    @staticmethod
    def listen(address: Address, handler: Handler, timeouts: Timeouts) -> GrpcServer:
        """A server at this address."""
        return GrpcServer(address, handler, timeouts)

    def request(self, message: Message, timeout_s: float) -> Message:
        """See `Transport.request`."""
        if not self._connected:
            self._connect()
        data = join(message.header, message.tensors, RAW_INPUT_CONTENTS)
        try:
            reply = self._calls[message.kind](data, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._error(error, timeout_s) from None
        return Message(message.kind, *split(reply, RAW_OUTPUT_CONTENTS))

    def close(self) -> None:
        """See `Transport.close`."""
        self._channel.close()

    def _connect(self) -> None:
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=self._timeouts.connect_s)
        except grpc.FutureTimeoutError:
            ready.cancel()
            raise Unreachable(f"Nobody answers at {self._address} (waited {self._timeouts.connect_s:g} s).") from None
        self._connected = True

    def _error(self, error: Any, timeout_s: float) -> WireError:
        code, details = error.code(), error.details()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{self._address} did not answer within {timeout_s:g} s.")
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            self._connected = False
            return Unreachable(f"The connection to {self._address} was lost: {details}")
        trailing = dict(error.trailing_metadata() or ())
        retry_after = str(trailing.get(RETRY_AFTER, ""))
        return Refused(code.name, details, int(retry_after) if retry_after.isdecimal() else 0)


class GrpcServer:
    """The server's end; see `Server`."""

    def __init__(self, address: Address, handler: Handler, timeouts: Timeouts) -> None:
        self._server = grpc.server(
            ThreadPoolExecutor(WORKERS, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=MAX_WAITING,
            options=[
                *_LIMITS,
                ("grpc.so_reuseport", 0),
                ("grpc.max_connection_idle_ms", int(timeouts.idle_s * 1000)),
                ("grpc.http2.min_ping_interval_without_data_ms", int(timeouts.heartbeat_s * 500)),
            ],
        )
        self._server.add_generic_rpc_handlers((_Methods(handler),))
        try:
            port = self._server.add_insecure_port(address.netloc)
        except RuntimeError:
            port = 0
        if not port:
            raise WireError(f"Cannot listen at {address}: the port is taken, or the host is not this machine.")
        self.address = Address(address.scheme, address.host, port)
        self._server.start()

    def close(self, grace_s: float = 5.0) -> None:
        """See `Server.close`."""
        self._server.stop(grace_s).wait()


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The methods of the Open Inference Protocol that a server of one model has."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        calls: dict[str, Callable[[bytes, grpc.ServicerContext], bytes]] = {
            "ServerLive": lambda data, context: open_inference_pb2.ServerLiveResponse(live=True).SerializeToString(),
            "ServerReady": lambda data, context: open_inference_pb2.ServerReadyResponse(ready=True).SerializeToString(),
            "ServerMetadata": _server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": lambda data, context: self._handle(Kind.METADATA, data, context),
            "ModelInfer": lambda data, context: self._handle(Kind.INFER, data, context),
        }
        self._methods = {
            f"/{SERVICE}/{name}": grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._methods.get(handler_call_details.method)

    def _handle(self, kind: Kind, data: bytes, context: grpc.ServicerContext) -> bytes:
        arrived_ns = time.monotonic_ns()
        try:
            request = Message(kind, *split(data, RAW_INPUT_CONTENTS))
        except DecodeError as error:
            _abort(context, refusal(error))
        caller = _Call(context)
        self._handler.submit(request, arrived_ns, caller, lend=True)
        reply = caller.wait()
        if isinstance(reply, Refused):
            _abort(context, reply)
        return join(reply.header, reply.tensors, RAW_OUTPUT_CONTENTS)

    def _model_ready(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        # ModelReadyRequest and ModelMetadataRequest have the same fields.
        caller = _Call(context)
        self._handler.submit(Message(Kind.METADATA, data), time.monotonic_ns(), caller, lend=True)
        reply = caller.wait()
        if isinstance(reply, Refused) and reply.code == "INVALID_ARGUMENT":
            _abort(context, reply)
        return open_inference_pb2.ModelReadyResponse(ready=not isinstance(reply, Refused)).SerializeToString()


class _Call:
    """A thread of gRPC's that waits for the answer to one call; see `Caller`."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self.client = context.peer()
        self._context = context
        self._given: SimpleQueue[Message | Refused] = SimpleQueue()
        if not context.add_callback(self._ended):
            self._ended()

    def gone(self) -> bool:
        return not self._context.is_active()

    def answer(self, reply: Message | Refused, sent: Callable[[], None]) -> None:
        # gRPC runs the callback once the answer and its status have been sent.
        if not self._context.add_callback(sent):
            sent()
        self._given.put(reply)

    def wait(self) -> Message | Refused:
        """The answer, or that nobody waits any more."""
        return self._given.get()

    def _ended(self) -> None:
        self._given.put(Refused("CANCELLED", "The client went away."))


def _abort(context: grpc.ServicerContext, refused: Refused) -> NoReturn:
    if refused.retry_after_ms:
        context.set_trailing_metadata(((RETRY_AFTER, str(refused.retry_after_ms)),))
    context.abort(getattr(grpc.StatusCode, refused.code, grpc.StatusCode.UNKNOWN), str(refused))
    raise AssertionError("gRPC's abort raises.")


def _server_metadata(data: bytes, context: grpc.ServicerContext) -> bytes:
    return open_inference_pb2.ServerMetadataResponse(name="cutlayer", version=__version__).SerializeToString()
