"""What the testbed adds to a request: the time of everything but head, tail and the bare transport.

    .venv/bin/python benchmarks/overhead.py [--rounds 300] [--sides 32 224]

VGG-11-BN cut at features.7 with random weights, batch 1, one thread on each side, edge and cloud in two processes on
loopback. A is the whole stack: pipeline, header, checks, service, durations. B is a loop that runs the same two ONNX
sessions and sends the tensor's bytes and nothing else by the same library. A and B take turns within one run, and
alternate which goes first; the overhead is the median of their paired differences, in percent of A's median.

Target: under 5 % and under 200 us.
"""

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import tyro
import zmq
from numpy.typing import NDArray

from benchmarks.wire_ways import COPY_BELOW_BYTES, METHOD, channel_to, serve_method
from cutlayer.defenses.base import Defense
from cutlayer.edge.client import Edge
from cutlayer.edge.pipeline import Pipeline
from cutlayer.machine.compute import tune_allocator
from cutlayer.spec import image_spec
from cutlayer.split_folder import open_split
from cutlayer.trace import Trace, columns
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import connect

MODEL, CUT, CLASSES = "vgg11_bn", "features.7", 10
WARMUP = 30
OURS = ("encode", "queue", "decode", "reply", "unattributed")

ROW = "{:<10}{:>11}{:>11}{:>10}{:>10}{:>8}{:>7}{:>5}   {}"

Ask = Callable[[NDArray[np.float32]], bytes | bytearray]
"""B's client: the smashed data there, the bytes of the logits back."""


def export(folder: Path, side: int) -> None:
    """Write the split folder for square images of this side."""
    from cutlayer.models.folder import save
    from cutlayer.models.halves import split
    from cutlayer.models.zoo import build

    spec = image_spec(3, side, side)
    halves = split(build(MODEL, spec, CLASSES), CUT, spec)
    save(folder, halves, model=MODEL, classes=CLASSES, defense={"name": "none"}, data=None)


def bare_server(transport: str, folder: Path) -> None:
    """B's server: bytes to array, tail, array to bytes. It prints its port and serves until it is killed."""
    tune_allocator()
    split = open_split(folder)
    tail, shape = split.tail(threads=1), split.manifest.smashed.shape

    def answer(data: bytes) -> bytes:
        return tail(np.frombuffer(data, np.float32).reshape(1, *shape)).tobytes()

    if transport == "zmq":
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REP)
        print(socket.bind_to_random_port("tcp://127.0.0.1"), flush=True)
        while True:
            socket.send(answer(socket.recv()))
    ports, server = serve_method(grpc.unary_unary_rpc_method_handler(lambda data, _: answer(data)), [0])
    print(ports[0], flush=True)
    server.wait_for_termination()


def bare_client(transport: str, port: int) -> Ask:
    """B's client over ZeroMQ or gRPC."""
    if transport == "zmq":
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REQ)
        socket.linger, socket.copy_threshold = 0, COPY_BELOW_BYTES
        socket.connect(f"tcp://127.0.0.1:{port}")

        def ask(smashed: NDArray[np.float32]) -> bytes:
            socket.send(smashed.data, copy=False)
            return socket.recv()

        return ask
    call = channel_to(port).unary_unary(METHOD)
    return lambda smashed: call(smashed.tobytes())


@contextmanager
def process(*words: object) -> Iterator[list[str]]:
    """A server process, and the words of the first line that it prints."""
    server = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()
    finally:
        server.kill()
        server.communicate()


def compare(transport: str, folder: Path, rounds: int, ask: Ask) -> tuple[NDArray[np.int64], list[Trace]]:
    """Time A and B in turn.

    Args:
        transport: What carries A's requests.
        folder: The split folder that both run.
        rounds: Number of requests of each that count.
        ask: B's client.

    Returns:
        End-to-end times in ns of A and B, ``(rounds, 2)``, and the traces of A.
    """
    split = open_split(folder)
    manifest, head = split.manifest, split.head()
    image = np.random.default_rng(0).random((1, *manifest.input.shape), np.float32)
    listen = ("--listen", f"{transport}://127.0.0.1:0", "--threads", 1)
    with process("-m", "cutlayer.cli", "cloud", folder, *listen) as ready:
        client = connect(ready[1])
        edge = Edge(manifest, Pipeline(head, Defense(), Raw()), client)
        traces: list[Trace] = []

        def ours() -> NDArray[np.float32]:
            logits, trace = edge.infer(image, len(traces))
            traces.append(trace)
            return logits

        def bare() -> NDArray[np.float32]:
            return np.frombuffer(ask(head(image)), np.float32)

        assert np.array_equal(ours().ravel(), bare())
        gc.disable()
        times = np.array([_timed(ours, bare, swap=index % 2 == 1) for index in range(WARMUP + rounds)])
        gc.enable()
        client.close()
    return times[WARMUP:], traces[-rounds:]


def _timed(a: Callable[[], object], b: Callable[[], object], swap: bool) -> tuple[int, int]:
    times_ns = {}
    for work in (b, a) if swap else (a, b):
        start = time.perf_counter_ns()
        work()
        times_ns[work] = time.perf_counter_ns() - start
    return times_ns[a], times_ns[b]


def medians_us(times: NDArray[np.int64]) -> tuple[float, float, float]:
    """Medians of A, of B and of their paired differences."""
    a, b, difference = (float(np.median(ns)) / 1e3 for ns in (times[:, 0], times[:, 1], times[:, 0] - times[:, 1]))
    return a, b, difference


def account(traces: list[Trace], stages: Sequence[str]) -> str:
    """The median time of each stage of A in microseconds, in words."""
    table = columns(traces)
    return ", ".join(f"{stage} {np.median(table[f'{stage}_ns']) / 1e3:.0f}" for stage in stages)


def in_process(work: Callable[..., None], *arguments: object) -> None:
    """Run a function in a process of its own, so that torch is not in the process that measures."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()


def main(rounds: int = 300, sides: tuple[int, ...] = (32, 224)) -> None:
    """Print one row for each image size and transport."""
    tune_allocator()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; measure on a quiet machine with two cores or more")
    titles = ("A p50 us", "B p50 us", "A-B us", "A-B %", "n", "A's own account, us")
    print(ROW.format("input", "sends B", "transport", *titles))
    with tempfile.TemporaryDirectory() as work:
        for side in sides:
            folder = Path(work) / str(side)
            in_process(export, folder, side)
            sends = open_split(folder).manifest.smashed.nbytes
            for transport in ("zmq", "grpc"):
                with process(__file__, "bare", transport, folder) as port:
                    ask = bare_client(transport, int(port[0]))
                    times, traces = compare(transport, folder, rounds, ask)
                a, b, extra = medians_us(times)
                row = (f"3x{side}x{side}", f"{sends:,}", transport, f"{a:.0f}", f"{b:.0f}", f"{extra:.0f}")
                print(ROW.format(*row, f"{100 * extra / a:.1f}", len(times), account(traces, OURS)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare_server(sys.argv[2], Path(sys.argv[3]))
    tyro.cli(main, description=__doc__)
