"""Ways to send an array to another process and get 40 bytes back: ours, the bare libraries, and the usual ones.

Each is a server and a client, each in its own process. `serve(sizes)` listens on loopback and gives the port for each
size; `connect(port, array)` gives a function that makes one request and waits for its answer.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any, NamedTuple

import grpc
import numpy as np
import zmq
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.edge.client import Edge
from cutlayer.edge.pipeline import Pipeline
from cutlayer.models.manifest import Manifest
from cutlayer.spec import TensorSpec
from cutlayer.wire import open_inference_pb2 as pb
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import connect, listen

CLASSES = 10
ANSWER = np.zeros((1, CLASSES), np.float32)
ANSWER_BYTES = ANSWER.tobytes()
COPY_BELOW_BYTES = 256 << 10
METHOD = "/bare/Call"
LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

Array = NDArray[np.float32]
Ask = Callable[[], object]
Ports = dict[int, int]


class Way(NamedTuple):
    """A contender.

    Attributes:
        serve: From the sizes of the arrays in bytes to the port for each, and an object to keep alive meanwhile.
        connect: From a port and the array to send to a function that makes one request.
        tuned: Whether both processes tune their allocator, as ours do.
    """

    serve: Callable[[Sequence[int]], tuple[Ports, object]]
    connect: Callable[[int, Array], Ask]
    tuned: bool = True


def _manifest(n_bytes: int) -> Manifest:
    spec = TensorSpec((n_bytes // 4,))
    return Manifest("bench", "cut", CLASSES, spec, spec, {"name": "none"}, None)


def ours(scheme: str) -> Way:
    """Our whole stack: pipeline, header, checks, service and durations, with a head and a tail that compute nothing."""

    def serve(sizes: Sequence[int]) -> tuple[Ports, object]:
        from cutlayer.cloud.service import Service

        def tail(smashed: Array) -> Array:
            return ANSWER if len(smashed) == 1 else np.zeros((len(smashed), CLASSES), np.float32)

        servers = {size: listen(f"{scheme}://127.0.0.1:0", Service(_manifest(size), tail)) for size in sizes}
        return {size: server.address.port for size, server in servers.items()}, servers

    def to(port: int, array: Array) -> Ask:
        pipeline = Pipeline(lambda image: image, Defense(), Raw())
        edge = Edge(_manifest(array.nbytes), pipeline, connect(f"{scheme}://127.0.0.1:{port}"))
        index = iter(range(1 << 62))
        return lambda: edge.infer(array, next(index))

    return Way(serve, to)


def in_thread(serve: Callable[..., None], *arguments: object) -> None:
    """Run a function in the background until the process ends."""
    threading.Thread(target=serve, args=arguments, daemon=True).start()


def serve_tcp(sizes: Sequence[int]) -> tuple[Ports, object]:
    """A buffer for each connection, filled by recv_into; the client sends its size once."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = memoryview(bytearray(int.from_bytes(connection.recv(8), "little")))
        while True:
            received = 0
            while received < len(buffer):
                if not (n := connection.recv_into(buffer[received:])):
                    return
                received += n
            connection.sendall(ANSWER_BYTES)

    def accept() -> None:
        while True:
            in_thread(answer, listening.accept()[0])

    in_thread(accept)
    return dict.fromkeys(sizes, listening.getsockname()[1]), listening


def connect_tcp(port: int, array: Array) -> Ask:
    """The memory of the array, sent as it is."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(array.nbytes.to_bytes(8, "little"))
    buffer = memoryview(bytearray(len(ANSWER_BYTES)))

    def ask() -> None:
        connection.sendall(array.data)
        received = 0
        while received < len(buffer):
            received += connection.recv_into(buffer[received:])

    return ask


def serve_zmq(sizes: Sequence[int]) -> tuple[Ports, object]:
    """A ROUTER socket, which sends the answer back to the identity of the peer."""
    router: Any = zmq.Context.instance().socket(zmq.ROUTER)

    def answer() -> None:
        while True:
            peer, data = router.recv_multipart(copy=False)
            np.frombuffer(data.buffer, np.float32)
            router.send_multipart([peer, ANSWER_BYTES])

    port = router.bind_to_random_port("tcp://127.0.0.1")
    in_thread(answer)
    return dict.fromkeys(sizes, port), router


def connect_zmq(port: int, array: Array) -> Ask:
    """A DEALER socket, without a copy where that is faster."""
    dealer: Any = zmq.Context.instance().socket(zmq.DEALER)
    dealer.linger, dealer.copy_threshold = 0, COPY_BELOW_BYTES
    dealer.connect(f"tcp://127.0.0.1:{port}")

    def ask() -> None:
        dealer.send(array, copy=False)
        dealer.recv()

    return ask


def serve_method(method: grpc.RpcMethodHandler, sizes: Sequence[int]) -> tuple[Ports, grpc.Server]:
    """A gRPC server of one method."""
    handler = grpc.method_handlers_generic_handler("bare", {"Call": method})
    server = grpc.server(ThreadPoolExecutor(16), handlers=[handler], options=LIMITS)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return dict.fromkeys(sizes, port), server


def channel_to(port: int) -> grpc.Channel:
    """A channel without the limit on sizes and without a proxy."""
    return grpc.insecure_channel(f"127.0.0.1:{port}", [*LIMITS, ("grpc.enable_http_proxy", 0)])


def serve_grpc_stream(sizes: Sequence[int]) -> tuple[Ports, object]:
    """A stream of bytes, without protobuf."""

    def answer(requests: Any, context: grpc.ServicerContext) -> Any:
        for data in requests:
            np.frombuffer(data, np.float32)
            yield ANSWER_BYTES

    return serve_method(grpc.stream_stream_rpc_method_handler(answer), sizes)


def connect_grpc_stream(port: int, array: Array) -> Ask:
    """One long-lived call for all requests."""
    requests: SimpleQueue[bytes | None] = SimpleQueue()
    replies = channel_to(port).stream_stream(METHOD)(iter(requests.get, None))

    def ask() -> None:
        requests.put(array.tobytes())
        next(replies)

    return ask


def serve_pickle(sizes: Sequence[int]) -> tuple[Ports, object]:
    """A REP socket with recv_pyobj."""
    replying: Any = zmq.Context.instance().socket(zmq.REP)

    def answer() -> None:
        while True:
            replying.recv_pyobj()
            replying.send_pyobj(ANSWER)

    port = replying.bind_to_random_port("tcp://127.0.0.1")
    in_thread(answer)
    return dict.fromkeys(sizes, port), replying


def connect_pickle(port: int, array: Array) -> Ask:
    """A REQ socket with send_pyobj."""
    asking: Any = zmq.Context.instance().socket(zmq.REQ)
    asking.linger = 0
    asking.connect(f"tcp://127.0.0.1:{port}")

    def ask() -> None:
        asking.send_pyobj(array)
        asking.recv_pyobj()

    return ask


def grpc_unary(
    request: Callable[[Array], pb.ModelInferRequest], reply: Callable[[], bytes], read: Callable[[bytes], object]
) -> Way:
    """A call for each request, with the messages of generated stubs.

    Args:
        request: Makes the message of an array.
        reply: Makes the bytes of the answer.
        read: Reads an array from the bytes in a message, on both sides.
    """

    def serve(sizes: Sequence[int]) -> tuple[Ports, object]:
        def answer(message: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
            read(message.raw_input_contents[0])
            return pb.ModelInferResponse(raw_output_contents=[reply()])

        return serve_method(
            grpc.unary_unary_rpc_method_handler(
                answer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
            ),
            sizes,
        )

    def connect(port: int, array: Array) -> Ask:
        call = channel_to(port).unary_unary(
            METHOD, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )
        return lambda: read(call(request(array)).raw_output_contents[0])

    return Way(serve, connect, tuned=False)


def _protobuf(array: Array) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="bench@cut", id="1")
    request.inputs.add(name="smashed", datatype="FP32", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    return request


def _npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


class _Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        np.frombuffer(self.rfile.read(int(self.headers["Content-Length"])), np.float32)
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER_BYTES)))
        self.end_headers()
        self.wfile.write(ANSWER_BYTES)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, because that would be measured."""


def serve_http(sizes: Sequence[int]) -> tuple[Ports, object]:
    """The HTTP server of the standard library, with persistent connections."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Http)
    in_thread(server.serve_forever)
    return dict.fromkeys(sizes, server.server_port), server


def connect_http(port: int, array: Array) -> Ask:
    """A POST request with the bytes of the array."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask() -> None:
        connection.request("POST", "/", array.tobytes())
        np.frombuffer(connection.getresponse().read(), np.float32)

    return ask


WAYS = {
    "bare TCP, recv_into": Way(serve_tcp, connect_tcp),
    "bare ZeroMQ": Way(serve_zmq, connect_zmq),
    "cutlayer, ZeroMQ": ours("zmq"),
    "bare gRPC stream": Way(serve_grpc_stream, connect_grpc_stream),
    "cutlayer, gRPC": ours("grpc"),
    "pickle over ZeroMQ": Way(serve_pickle, connect_pickle, tuned=False),
    "protobuf, gRPC unary": grpc_unary(_protobuf, lambda: ANSWER_BYTES, lambda data: np.frombuffer(data, np.float32)),
    "np.save, gRPC unary": grpc_unary(
        lambda array: pb.ModelInferRequest(raw_input_contents=[_npy(array)]),
        lambda: _npy(ANSWER),
        lambda data: np.load(io.BytesIO(data), allow_pickle=False),
    ),
    "HTTP, raw bytes": Way(serve_http, connect_http, tuned=False),
}
