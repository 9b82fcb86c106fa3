"""What the edge pipeline costs a device, and how long a profile takes.

    .venv/bin/python benchmarks/edge_profile.py [--rounds 300] [--cut features.8]

MobileNetV2 with random weights, 224x224, batch 1, one thread on each side, device and server in two processes on
loopback. A is `edge`: head in ONNX Runtime, defense, codec, client after the handshake, either transport. B is the
same two ONNX sessions and a bare TCP socket that carries the tensor's bytes after their length. A and B take turns,
and alternate which goes first; the difference is the median of the pairs. Both servers are started several times,
because the placement of its memory makes the tail of one process up to 0.1 ms faster than that of another: the lowest
and the highest difference of a start are given too. "A's own account" is the time of A's stages: the two models, what
else either side does, and, as the network, everything between the two processes.

Targets: A within 5 % or 100 us of B; the profile of 10 cuts, 3 networks and 3 codecs under 3 minutes on 2 cores.
"""

import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks.overhead import OURS, account, compare, in_process, medians_us, process
from cutlayer.machine.compute import tune_allocator
from cutlayer.split_folder import open_split
from cutlayer.trace import Trace

MODEL, STARTS = "mobilenet_v2", 5
ROW = "{:<10}{:>11}{:>11}{:>8}{:>14}{:>8}{:>5}   {}"
ACCOUNT = ("head", *OURS, "tail", "network")
DEVICE = (
    "import time; begun = time.perf_counter()\n"
    "import cutlayer.edge.send, cutlayer.onnx.session; cutlayer.onnx.session.runtime()\n"
    "import cutlayer.wire.grpc.client, cutlayer.wire.zmq.client, cutlayer.wire.codecs.zstd, zstandard\n"
    "from cutlayer.machine.footprint import peak_rss_bytes\n"
    "print(f'{time.perf_counter() - begun:.2f} s, {peak_rss_bytes() / 1e6:.0f} MB')\n"
)


def export(out: Path, cut: str) -> None:
    """Write the split folder."""
    from cutlayer.profile.prepare import prepare

    (candidate,) = prepare(MODEL, [cut], None, out, classes=1000, data=None, say=print)
    candidate.folder.rename(out / "split")


def bare_server(folder: Path) -> None:
    """B's server: bytes to array, tail, array to bytes. It prints its port and serves one connection to its end."""
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
    """Receive one message; empty at the end of the connection."""
    prefix = connection.recv(4, socket.MSG_WAITALL)
    data = bytearray(struct.unpack("<I", prefix)[0] if prefix else 0)
    view = memoryview(data)
    while view:
        view = view[connection.recv_into(view) :]
    return data


def compare_bare(transport: str, folder: Path, rounds: int) -> tuple[NDArray[np.int64], list[Trace]]:
    """`compare` with a bare server of its own."""
    with (
        process(__file__, "bare", folder) as port,
        socket.create_connection(("127.0.0.1", int(port[0]))) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask(smashed: NDArray[np.float32]) -> bytearray:
            _send(connection, smashed)
            return _receive(connection)

        return compare(transport, folder, rounds, ask)


def time_profile(out: Path) -> None:
    """Run the command of the target, as a user types it, and print its time."""
    words = ["profile", MODEL, "--network", "wifi,lte,nbiot", "--codecs", "raw,fp16,int8+zstd", "--out", out]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "cutlayer.cli", *map(str, words)], capture_output=True, text=True, check=True
    )
    print(done.stdout)
    print(f"cutlayer {' '.join(map(str, words))}: {time.perf_counter() - start:.0f} s on {os.cpu_count()} cores")


def main(rounds: int = 300, cut: str = "features.8", profile: bool = True) -> None:
    """Print the device's footprint, A beside B for each transport, and the time of a whole profile."""
    tune_allocator()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; measure on a quiet machine with at least two")
    device = [sys.executable, "-c", DEVICE]
    imported = [subprocess.run(device, capture_output=True, text=True, check=True).stdout.strip() for _ in range(3)]
    print(f"imports of the device, every library loaded, time and peak: {'; '.join(imported)}")
    with tempfile.TemporaryDirectory() as work:
        in_process(export, Path(work), cut)
        print(
            ROW.format("transport", "A p50 us", "B p50 us", "A-B us", "of a start", "A-B %", "n", "A's own account, us")
        )
        for transport in ("zmq", "grpc"):
            starts = [compare_bare(transport, Path(work) / "split", rounds // STARTS) for _ in range(STARTS)]
            times = np.concatenate([pairs for pairs, _ in starts])
            stages = account([trace for _, traces in starts for trace in traces], ACCOUNT)
            of_starts = sorted(medians_us(pairs)[2] for pairs, _ in starts)
            a, b, extra = medians_us(times)
            row = (f"{a:.0f}", f"{b:.0f}", f"{extra:.0f}", f"{of_starts[0]:.0f} to {of_starts[-1]:.0f}")
            print(ROW.format(transport, *row, f"{100 * extra / b:.1f}", len(times), stages), flush=True)
        if profile:
            time_profile(Path(work) / "profile")


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare_server(Path(sys.argv[2]))
    else:
        tyro.cli(main, description=__doc__)
