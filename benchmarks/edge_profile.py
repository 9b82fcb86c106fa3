"""What a device pays for the edge pipeline, and how long a profile takes.

    .venv/bin/python benchmarks/edge_profile.py [--rounds 300] [--cut features.8]

MobileNetV2 with random weights, 224x224, batch 1, one thread a side, device and server in two processes on loopback.
A is `edge`: head in ONNX Runtime, defense, codec, handshaken client, either transport. B is the same two ONNX sessions
and a bare TCP socket that carries the tensor's bytes after their length. A and B take turns, and swap who goes first;
the difference is the median of the pairs. Both servers are started several times, for where its memory happens to lie
makes one process's tail faster than the other's by up to 0.1 ms: the lowest and the highest start's difference is given
too. A's own account says where A's time went: the two models, what was done beside them on either side, and, as the
network, all that lies between the two processes.

Targets: A within 5 % or 100 us of B; the profile of 10 cuts, 3 networks and 3 codecs under 3 minutes on 2 cores.
"""

import argparse
import gc
import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # for benchmarks.overhead

from benchmarks.overhead import OURS, process
from cutlayer.machine.compute import tune_allocator
from cutlayer.split_folder import open_split
from cutlayer.trace import Trace, columns
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import connect
from defenses.base import Defense
from edge.client import Edge
from edge.pipeline import Pipeline

MODEL, WARMUP, STARTS = "mobilenet_v2", 30, 5
ROW = "{:<10}{:>11}{:>11}{:>8}{:>14}{:>8}{:>5}   {}"
ACCOUNT = ("head", *OURS, "tail", "network")
DEVICE = (
    "import time; begun = time.perf_counter()\n"
    "import onnxruntime, edge.send, cutlayer.onnx.session\n"
    "import cutlayer.wire.grpc.client, cutlayer.wire.zmq.client, cutlayer.wire.codecs.zstd, zstandard\n"
    "from cutlayer.machine.footprint import peak_rss_bytes\n"
    "print(f'{time.perf_counter() - begun:.2f} s, {peak_rss_bytes() / 1e6:.0f} MB')\n"
)


def export(out: Path, cut: str) -> None:
    """Write the split folder, in a process of its own, so that torch is not in the one that measures."""
    from cutlayer.profile.prepare import prepare

    (made,) = prepare(MODEL, [cut], None, out, classes=1000, data=None, say=print)
    made.folder.rename(out / "split")


def bare_server(folder: Path) -> None:
    """B's server: bytes to array, tail, array to bytes. Prints its port, serves one connection to its end."""
    tune_allocator()
    split = open_split(folder)
    tail, shape = split.tail(threads=1), split.manifest.smashed.shape
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := _receive(connection):
        smashed = np.frombuffer(data, np.float32).reshape(1, *shape)
        _send(connection, tail(smashed))


def _send(connection: socket.socket, array: NDArray[np.float32]) -> None:
    connection.sendmsg([struct.pack("<I", array.nbytes), array.data.cast("B")])


def _receive(connection: socket.socket) -> bytearray:
    """One message; empty at the end."""
    prefix = connection.recv(4, socket.MSG_WAITALL)
    data = bytearray(struct.unpack("<I", prefix)[0] if prefix else 0)
    view = memoryview(data)
    while view:
        view = view[connection.recv_into(view) :]
    return data


def compare(transport: str, folder: Path, rounds: int) -> tuple[NDArray[np.int64], list[Trace]]:
    """End-to-end ns of A and of B, a row for each round, and A's traces."""
    split = open_split(folder)
    manifest, head = split.manifest, split.head()
    image = np.random.default_rng(0).random((1, *manifest.input.shape), np.float32)
    listen = ("--listen", f"{transport}://127.0.0.1:0", "--threads", 1)
    with (
        process("-m", "cutlayer.cli", "cloud", folder, *listen) as ready,
        process(__file__, "--bare", folder) as port,
        socket.create_connection(("127.0.0.1", int(port[0]))) as bare_connection,
    ):
        bare_connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = connect(ready[1])
        edge = Edge(manifest, Pipeline(head, Defense(), Raw()), client)
        traces: list[Trace] = []

        def ours() -> NDArray[np.float32]:
            logits, trace = edge.infer(image, len(traces))
            traces.append(trace)
            return logits

        def bare() -> NDArray[np.float32]:
            _send(bare_connection, head(image))
            return np.frombuffer(_receive(bare_connection), np.float32)

        assert np.array_equal(ours().ravel(), bare())
        gc.disable()
        times = np.array([_timed(ours, bare, swap=index % 2 == 1) for index in range(WARMUP + rounds)])
        gc.enable()
        client.close()
    return times[WARMUP:], traces[-rounds:]


def _timed(a: Callable[[], object], b: Callable[[], object], *, swap: bool) -> tuple[int, int]:
    taken = {}
    for one in (b, a) if swap else (a, b):
        start = time.perf_counter_ns()
        one()
        taken[one] = time.perf_counter_ns() - start
    return taken[a], taken[b]


def time_profile(out: Path) -> None:
    """The command of the target, as a user types it, and what it took."""
    words = ["profile", MODEL, "--network", "wifi,lte,nbiot", "--codecs", "raw,fp16,int8+zstd", "--out", out]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "cutlayer.cli", *map(str, words)], capture_output=True, text=True, check=True
    )
    print(done.stdout)
    print(f"cutlayer {' '.join(map(str, words))}: {time.perf_counter() - start:.0f} s on {os.cpu_count()} cores")


def main() -> None:
    """Print the device's footprint, A beside B for each transport, and the time of a whole profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--cut", default="features.8")
    parser.add_argument("--no-profile", action="store_true", help="only the pipeline")
    parser.add_argument("--bare", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare_server(options.bare)
        return
    tune_allocator()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; measure on a quiet machine with two at least")
    device = [sys.executable, "-c", DEVICE]
    imported = [subprocess.run(device, capture_output=True, text=True, check=True).stdout.strip() for _ in range(3)]
    print(f"imports of the device, every library loaded, time and peak: {'; '.join(imported)}")
    with tempfile.TemporaryDirectory() as work:
        exporting = multiprocessing.get_context("spawn").Process(target=export, args=(Path(work), options.cut))
        exporting.start()
        exporting.join()
        print(
            ROW.format("transport", "A p50 us", "B p50 us", "A-B us", "of a start", "A-B %", "n", "A's own account, us")
        )
        for transport in ("zmq", "grpc"):
            starts = [compare(transport, Path(work) / "split", options.rounds // STARTS) for _ in range(STARTS)]
            times = np.concatenate([pairs for pairs, _ in starts])
            account = columns([trace for _, traces in starts for trace in traces])
            each = sorted(float(np.median(pairs[:, 0] - pairs[:, 1])) / 1e3 for pairs, _ in starts)
            a, b, extra = (float(np.median(x)) / 1e3 for x in (times[:, 0], times[:, 1], times[:, 0] - times[:, 1]))
            share = f"{100 * extra / b:.1f}"
            stages = ", ".join(f"{stage} {np.median(account[f'{stage}_ns']) / 1e3:.0f}" for stage in ACCOUNT)
            row = (f"{a:.0f}", f"{b:.0f}", f"{extra:.0f}", f"{each[0]:.0f} to {each[-1]:.0f}", share)
            print(ROW.format(transport, *row, len(times), stages), flush=True)
        if not options.no_profile:
            time_profile(Path(work) / "profile")


if __name__ == "__main__":
    main()
