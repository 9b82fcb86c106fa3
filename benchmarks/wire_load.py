"""Requests per second of one server with 1, 8 and 32 clients, with and without batches.

    .venv/bin/python benchmarks/wire_load.py [--seconds 1.5] [--turns 5]

64 KB requests to the tail of a small CNN: a convolution, 2048 hidden units, 10 outputs, random weights, one thread;
its time with and without batches, without a wire, is printed first. Each client sends its next request after each
answer; all clients are threads of one process, the server is another. The two servers of a transport, with batches of
at most 16 and of 1, take turns; the figure is that of the median turn.
"""

import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import onnx
import tyro
from onnx import TensorProto, helper, numpy_helper

from cutlayer.defenses.base import Defense
from cutlayer.edge.client import Edge
from cutlayer.edge.pipeline import Pipeline
from cutlayer.machine.compute import tune_allocator
from cutlayer.models.manifest import TAIL_ONNX, Manifest
from cutlayer.onnx.session import open_half
from cutlayer.spec import TensorSpec
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.transport import Timeouts

SMASHED, CLASSES = TensorSpec((64, 16, 16)), 10
BATCHES = {"batches of at most 16": 16, "one by one": 1}
PATIENCE = Timeouts(request_s=60.0)
MANIFEST = Manifest("bench", "small", CLASSES, SMASHED, SMASHED, {"name": "none"}, None)


def write_tail(path: Path) -> None:
    """Write the tail: from 64x16x16 to 64x8x8 to 2048 to 10."""
    rng, names = np.random.default_rng(0), ("kernel", "hidden", "last")
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.05, size=shape).astype(np.float32), name)
        for name, shape in zip(names, ((64, 64, 3, 3), (4096, 2048), (2048, CLASSES)), strict=True)
    ]
    nodes = [
        helper.make_node("Conv", ["smashed", "kernel"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["c"]),
        helper.make_node("MatMul", ["c", "hidden"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "last"], ["logits"]),
    ]
    smashed, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        for name, shape in (("smashed", SMASHED.shape), ("logits", (CLASSES,)))
    )
    graph = helper.make_graph(nodes, "tail", [smashed], [logits], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def tail_us(path: Path, n: int, repeats: int = 50) -> float:
    """Median time of the tail per sample, in a batch of n."""
    tail = open_half(path, 1, {"smashed": SMASHED}, {"logits": TensorSpec((CLASSES,))})
    smashed, times_s = np.ones((n, *SMASHED.shape), np.float32), []
    for _ in range(repeats):
        start = time.perf_counter()
        tail(smashed)
        times_s.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times_s) / n


def _serve(transport: str, tail: Path, max_batch: int, parent: Connection) -> None:
    from cutlayer.cloud.admission import Limits
    from cutlayer.cloud.service import Service

    tune_allocator()
    half = open_half(tail, 1, {"smashed": SMASHED}, {"logits": TensorSpec((CLASSES,))})
    service = Service(MANIFEST, half, limits=Limits(max_batch=max_batch))
    server = listen(f"{transport}://127.0.0.1:0", service, PATIENCE)
    parent.send(str(server.address))
    parent.recv()
    server.close()
    service.drain()


@contextmanager
def serving(transport: str, tail: Path, max_batch: int) -> Iterator[str]:
    """Start a server in a process of its own, and give its address."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(transport, tail, max_batch, there), daemon=True)
    process.start()
    try:
        yield here.recv()
        here.send("stop")
        process.join(30)
    finally:
        process.kill()


class Clients:
    """Connected clients; in a turn, each is a thread that sends one request after the other."""

    def __init__(self, address: str, n: int) -> None:
        self._transports = [connect(address, PATIENCE) for _ in range(n)]
        pipeline = Pipeline(lambda images: images, Defense(), Raw())
        self._edges = [Edge(MANIFEST, pipeline, transport, PATIENCE) for transport in self._transports]
        self._answered = [0] * n
        self._smashed = np.maximum(np.random.default_rng(0).normal(size=(1, *SMASHED.shape)), 0).astype(np.float32)

    def per_second(self, seconds: float) -> float:
        """Answers per second in one turn."""
        before, start = sum(self._answered), time.perf_counter()
        threads = [threading.Thread(target=self._ask, args=(i, start + seconds)) for i in range(len(self._edges))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (sum(self._answered) - before) / (time.perf_counter() - start)

    def close(self) -> None:
        """Close all connections."""
        for transport in self._transports:
            transport.close()

    def _ask(self, which: int, until: float) -> None:
        while time.perf_counter() < until:
            self._edges[which].infer(self._smashed, self._answered[which])
            self._answered[which] += 1


def compare(transport: str, tail: Path, n: int, seconds: float, turns: int) -> dict[str, list[float]]:
    """Requests per second in each turn, with batches and without."""
    with serving(transport, tail, 16) as batching, serving(transport, tail, 1) as single:
        contenders = dict(zip(BATCHES, (Clients(batching, n), Clients(single, n)), strict=True))
        for clients in contenders.values():
            clients.per_second(seconds / 4)
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(turns):
            for name in list(contenders)[:: -1 if turn % 2 else 1]:
                rates[name].append(contenders[name].per_second(seconds))
        for clients in contenders.values():
            clients.close()
    return rates


def main(
    seconds: float = 1.5,
    turns: int = 5,
    clients: Sequence[int] = (1, 8, 32),
    transports: Sequence[str] = ("zmq", "grpc"),
) -> None:
    """Print a row for each transport and number of clients; each turn lasts `seconds`."""
    tune_allocator()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; measure on a quiet machine")
    print(
        f"{'requests/s':<12}{'clients':>8}" + "".join(f"{name:>24}" for name in BATCHES) + f"{'ratio':>8}{'turns':>7}"
    )
    with tempfile.TemporaryDirectory() as work:
        tail = Path(work) / TAIL_ONNX
        write_tail(tail)
        print(f"the tail alone: {tail_us(tail, 1):.0f} us, in batches of 16 {tail_us(tail, 16):.0f} us each")
        for transport in transports:
            for n in clients:
                rates = compare(transport, tail, n, seconds, turns)
                batched, single = (statistics.median(values) for values in rates.values())
                ratio = statistics.median(a / b for a, b in zip(*rates.values(), strict=True))
                print(
                    f"{transport:<12}{n:>8}{batched:>24,.0f}{single:>24,.0f}{ratio:>7.2f}x{turns:>7}",
                    flush=True,
                )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
