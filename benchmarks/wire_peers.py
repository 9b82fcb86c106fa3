"""The usual ways to send an array to another process and get 40 bytes back, and the list of all; see `wire_ways`."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
import zmq

from benchmarks.wire_ways import (
    ANSWER,
    ANSWER_BYTES,
    METHOD,
    Array,
    Ask,
    Ports,
    Way,
    channel_to,
    connect_grpc_stream,
    connect_tcp,
    connect_zmq,
    in_thread,
    ours,
    serve_grpc_stream,
    serve_method,
    serve_tcp,
    serve_zmq,
)
from cutlayer.wire import open_inference_pb2 as pb


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
