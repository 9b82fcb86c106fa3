"""Ways to send an array to another process and get 40 bytes back: ours, and the bare libraries.

Each is a server and a client, each in its own process. `serve(sizes)` listens on loopback and gives the port for each
size; `connect(port, array)` gives a function that makes one request and waits for its answer.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, NamedTuple

import grpc
import numpy as np
import zmq
from numpy.typing import NDArray

from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import connect, listen
from defenses.base import Defense
from edge.client import Edge
from edge.pipeline import Pipeline

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


def _manifest(n_bytes: int) -> Any:
    from cutlayer.models.manifest import Manifest
    from cutlayer.spec import TensorSpec

    spec = TensorSpec((n_bytes // 4,))
    return Manifest("bench", "cut", CLASSES, spec, spec, {"name": "none"}, None)


def ours(scheme: str) -> Way:
    """Our whole stack: pipeline, header, checks, service and durations, with a head and a tail that compute nothing."""

    def serve(sizes: Sequence[int]) -> tuple[Ports, object]:
        from cloud.service import Service

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


def serve_method(method: grpc.RpcMethodHandler, sizes: Sequence[int]) -> tuple[Ports, object]:
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
