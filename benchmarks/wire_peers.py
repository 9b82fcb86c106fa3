"""What others do to bring one array to another process and 40 bytes back, and the list of all ways; see `wire_ways`."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Sequence
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
    """REP with recv_pyobj."""
    replying: Any = zmq.Context.instance().socket(zmq.REP)

    def answer() -> None:
        while True:
            replying.recv_pyobj()
            replying.send_pyobj(ANSWER)

    port = replying.bind_to_random_port("tcp://127.0.0.1")
    in_thread(answer)
    return dict.fromkeys(sizes, port), replying


def connect_pickle(port: int, array: Array) -> Ask:
    """REQ with send_pyobj."""
    asking: Any = zmq.Context.instance().socket(zmq.REQ)
    asking.linger = 0
    asking.connect(f"tcp://127.0.0.1:{port}")

    def ask() -> None:
        asking.send_pyobj(array)
        asking.recv_pyobj()

    return ask


def serve_grpc_protobuf(sizes: Sequence[int]) -> tuple[Ports, object]:
    """What generated stubs do: objects in, objects out."""

    def answer(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        np.frombuffer(request.raw_input_contents[0], np.float32)
        return pb.ModelInferResponse(raw_output_contents=[ANSWER_BYTES])

    method = grpc.unary_unary_rpc_method_handler(
        answer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
    )
    return serve_method(method, sizes)


def connect_grpc_protobuf(port: int, array: Array) -> Ask:
    """A call for each request."""
    call = channel_to(port).unary_unary(
        METHOD, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )

    def ask() -> None:
        request = pb.ModelInferRequest(model_name="bench@cut", id="1")
        request.inputs.add(name="smashed", datatype="FP32", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
        np.frombuffer(call(request).raw_output_contents[0], np.float32)

    return ask


def serve_grpc_npy(sizes: Sequence[int]) -> tuple[Ports, object]:
    """The array as a .npy file inside a protobuf message."""

    def answer(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        np.load(io.BytesIO(request.raw_input_contents[0]), allow_pickle=False)
        return pb.ModelInferResponse(raw_output_contents=[_npy(ANSWER)])

    method = grpc.unary_unary_rpc_method_handler(
        answer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
    )
    return serve_method(method, sizes)


def connect_grpc_npy(port: int, array: Array) -> Ask:
    """A call for each request."""
    call = channel_to(port).unary_unary(
        METHOD, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )

    def ask() -> None:
        reply = call(pb.ModelInferRequest(raw_input_contents=[_npy(array)]))
        np.load(io.BytesIO(reply.raw_output_contents[0]), allow_pickle=False)

    return ask


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
        """Nothing: it would be measured."""


def serve_http(sizes: Sequence[int]) -> tuple[Ports, object]:
    """The standard library's server, connections kept."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Http)
    in_thread(server.serve_forever)
    return dict.fromkeys(sizes, server.server_port), server


def connect_http(port: int, array: Array) -> Ask:
    """POST of the array's bytes."""
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
    "protobuf, gRPC unary": Way(serve_grpc_protobuf, connect_grpc_protobuf, tuned=False),
    "np.save, gRPC unary": Way(serve_grpc_npy, connect_grpc_npy, tuned=False),
    "HTTP, raw bytes": Way(serve_http, connect_http, tuned=False),
}
