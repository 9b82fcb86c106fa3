"""Ways to train a model over a network that peers use, with the same torch on both sides, and the model in one piece.

Each server has the tail and answers smashed data and labels with the gradient at the cut. `serve` gives its port;
`connect` gives a function from arrays to the gradient.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cutlayer.models import zoo
from cutlayer.models.halves import split
from cutlayer.spec import TensorSpec, image_spec

POLL_S = 0.01
"""Pause between two questions of a client that polls."""

LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Step = Callable[[Any, Any], Any]
"""Smashed data and labels to the gradient, as arrays."""


class Task(NamedTuple):
    """A model, where it is cut, and the size of a batch."""

    model: str
    cut: str
    batch: int
    input: TensorSpec


TASKS = {
    "vgg11_bn": Task("vgg11_bn", "features.3", 64, image_spec(3, 32, 32)),
    "lenet": Task("lenet", "pool1", 32, image_spec(1, 28, 28)),
}


def halves(task: Task) -> tuple[nn.Module, nn.Module]:
    """The head and the tail of a task, in training mode."""
    parts = split(zoo.build(task.model, task.input, 10), task.cut, task.input)
    return parts.head.train(), parts.tail.train()


def whole_step(task: Task) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """One step of the model in one piece."""
    model = zoo.build(task.model, task.input, 10).train()
    optimizer = torch.optim.Adam(model.parameters())

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def tail_step(task: Task) -> Step:
    """The server's part of a step."""
    _, tail = halves(task)
    optimizer = torch.optim.Adam(tail.parameters())

    def step(smashed: Any, labels: Any) -> Any:
        leaf = torch.from_numpy(smashed.copy()).requires_grad_()
        optimizer.zero_grad()
        functional.cross_entropy(tail(leaf), torch.from_numpy(labels.copy())).backward()
        optimizer.step()
        assert leaf.grad is not None
        return leaf.grad.numpy()

    return step


def head_step(task: Task, ask: Step) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """The client's part of a step, around what the server answers."""
    head, _ = halves(task)
    optimizer = torch.optim.Adam(head.parameters())

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        smashed = head(images)
        smashed.backward(torch.from_numpy(ask(smashed.detach().numpy(), labels.numpy())))
        optimizer.step()

    return step


def saved(*arrays: Any) -> bytes:
    """The arrays as np.save writes them, one after the other."""
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array, allow_pickle=False)
    return file.getvalue()


def read(data: bytes, n: int) -> list[Any]:
    """Undo `saved`."""
    file = io.BytesIO(data)
    return [np.load(file, allow_pickle=False) for _ in range(n)]


def serve_grpc(step: Step) -> int:
    """Unary calls whose messages are what np.save writes, as in Flower."""

    def call(data: bytes, context: object) -> bytes:
        return saved(step(*read(data, 2)))

    handler = grpc.method_handlers_generic_handler("bare", {"Step": grpc.unary_unary_rpc_method_handler(call)})
    server = grpc.server(ThreadPoolExecutor(1), options=LIMITS)
    server.add_generic_rpc_handlers((handler,))
    port: int = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _alive.append(server)
    return port


def connect_grpc(port: int) -> Step:
    """See `serve_grpc`."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=LIMITS)
    call = channel.unary_unary("/bare/Step")

    def ask(smashed: Any, labels: Any) -> Any:
        [gradient] = read(call(saved(smashed, labels)), 1)
        return gradient.copy()

    return ask


def serve_pickle(step: Step) -> int:
    """Pickled arrays over a socket, answered when they are computed."""
    return _listen(lambda receive, send: send(step(*receive())))


def connect_pickle(port: int) -> Step:
    """See `serve_pickle`."""
    receive, send = _ends(socket.create_connection(("127.0.0.1", port)))

    def ask(smashed: Any, labels: Any) -> Any:
        send((smashed, labels))
        return receive()

    return ask


def serve_polled(step: Step) -> int:
    """Pickled arrays over a socket; the client asks until the answer is there, as in frameworks with a control loop."""
    answers: list[Any] = []

    def work(smashed: Any, labels: Any) -> None:
        answers.append(step(smashed, labels))

    def serve(receive: Callable[[], Any], send: Callable[[Any], None]) -> None:
        asked = receive()
        if asked is None:
            send(answers.pop() if answers else None)
        else:
            threading.Thread(target=work, args=asked).start()
            send(True)

    return _listen(serve)


def connect_polled(port: int) -> Step:
    """See `serve_polled`."""
    receive, send = _ends(socket.create_connection(("127.0.0.1", port)))

    def ask(smashed: Any, labels: Any) -> Any:
        send((smashed, labels))
        receive()
        while True:
            time.sleep(POLL_S)
            send(None)
            if (gradient := receive()) is not None:
                return gradient

    return ask


PEERS: dict[str, tuple[Callable[[Step], int], Callable[[int], Step]]] = {
    "np.save over gRPC unary": (serve_grpc, connect_grpc),
    "pickle over a socket": (serve_pickle, connect_pickle),
    f"pickle, polled each {POLL_S * 1e3:.0f} ms": (serve_polled, connect_polled),
}
_alive: list[object] = []


def _listen(serve: Callable[[Callable[[], Any], Callable[[Any], None]], None]) -> int:
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        receive, send = _ends(listening.accept()[0])
        with contextlib.suppress(EOFError):
            while True:
                serve(receive, send)

    threading.Thread(target=run, daemon=True).start()
    return int(listening.getsockname()[1])


def _ends(connection: socket.socket) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Functions that receive and send one pickled object; both ends are this benchmark's own."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    file = connection.makefile("rb")

    def receive() -> Any:
        if not (head := file.read(8)):
            raise EOFError
        (length,) = struct.unpack("<Q", head)
        return pickle.loads(file.read(length))  # noqa: S301

    def send(value: Any) -> None:
        data = pickle.dumps(value, protocol=5)
        connection.sendall(struct.pack("<Q", len(data)) + data)

    return receive, send
