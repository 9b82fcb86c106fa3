"""How much slower our wire and the usual ways send an array to another process than a bare socket.

    .venv/bin/python benchmarks/wire.py [--rounds 50] [--turn 20] [--sizes 4096 65536 262144 1048576 8388608]

Request up, 40 bytes down, one client, one request in flight, loopback, each side of each way in a process of its own.
All ways take turns within one run, 20 requests each, in an order drawn again for each round. All 20 count. The first
of each turn finds caches that others have used, and takes several times as long, whatever the way: its median is
printed separately, and turns of a single request would measure little else.

Clients run on one half of the cores and servers on the other, as on two machines: if the scheduler decides, both sides
of a way share a core in some runs, and a bare socket then takes 13 us or 54 us (--no-apart). Ratios are of medians to a
bare TCP socket without framing; at 1 MB, where the bare socket has two modes, of fastest deciles. What we add is the
difference between our median and that of the same library used bare.
"""

import gc
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks.wire_ways import WAYS
from cutlayer.machine.compute import tune_allocator

SIZES = (4 << 10, 64 << 10, 256 << 10, 1 << 20, 8 << 20)
WARMUP_REQUESTS = 20
LEAST_REQUESTS = 60
BIMODAL = 1 << 20
AT_MOST = {
    "cutlayer, ZeroMQ": dict(zip(SIZES, (2.2, 2.5, 1.8, 1.4, 1.2), strict=True)),
    "cutlayer, gRPC": dict(zip(SIZES, (5.0, 5.0, 2.8, 2.8, 2.0), strict=True)),
}
SAME_SOCKET = {"cutlayer, ZeroMQ": "bare ZeroMQ", "cutlayer, gRPC": "bare gRPC stream"}

Times = dict[tuple[str, int], NDArray[np.int64]]


def measure(ways: Sequence[str], sizes: Sequence[int], rounds: int, turn: int, apart: bool) -> Times:
    """Round trips of each way at each size in ns, in order of time."""
    context = multiprocessing.get_context("spawn")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    half = len(cores) // 2 if apart else 0
    near, far = set(cores[:half]), set(cores[half:])
    clients: dict[str, Connection] = {}
    for name in ways:
        server, server_end = context.Pipe()
        context.Process(target=_serve, args=(name, sizes, far, server_end), daemon=True).start()
        clients[name], client_end = context.Pipe()
        context.Process(target=_ask, args=(name, server.recv(), near, client_end), daemon=True).start()
        client_end.close()  # so that the run ends if a client fails
        clients[name].recv()
    times_ns: dict[tuple[str, int], list[int]] = {(name, size): [] for name in ways for size in sizes}
    for size in sizes:
        # Above 1 MB no more bytes than at 1 MB, where that leaves enough requests.
        least = -(-LEAST_REQUESTS // turn)
        warmup = -(-WARMUP_REQUESTS // turn)
        for number in range(warmup + max(least, min(rounds, rounds * BIMODAL // size))):
            for name in random.sample(list(ways), len(ways)):
                clients[name].send((size, turn))
                ns = clients[name].recv()
                if number >= warmup:
                    times_ns[name, size] += ns
    for process in multiprocessing.active_children():
        process.kill()
    return {key: np.array(values) for key, values in times_ns.items()}


def _stay_on(cores: set[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


def _serve(name: str, sizes: Sequence[int], cores: set[int], parent: Connection) -> None:
    _stay_on(cores)
    if WAYS[name].tuned:
        tune_allocator()
    ports, server = WAYS[name].serve(sizes)
    parent.send(ports)
    threading.Event().wait()
    del server


def _ask(name: str, ports: Mapping[int, int], cores: set[int], parent: Connection) -> None:
    _stay_on(cores)
    if WAYS[name].tuned:
        tune_allocator()
    rng = np.random.default_rng(0)
    ask = {
        size: WAYS[name].connect(port, np.maximum(rng.normal(size=(1, size // 4)), 0).astype(np.float32))
        for size, port in ports.items()
    }
    parent.send("ready")
    gc.disable()
    while True:
        size, turn = parent.recv()
        request, times_ns = ask[size], []
        for _ in range(turn):
            start = time.perf_counter_ns()
            request()
            times_ns.append(time.perf_counter_ns() - start)
        parent.send(times_ns)


def ratio(times: Times, name: str, base: str, size: int) -> float:
    """The ratio of medians; of fastest deciles where the bare socket has two modes."""
    q = 10 if size == BIMODAL else 50
    return float(np.percentile(times[name, size], q) / np.percentile(times[base, size], q))


def report(times: Times, ways: Sequence[str], sizes: Sequence[int], turn: int) -> None:
    """Print the tables of times, first requests and differences."""
    bare = ways[0]
    label = {size: f"{size >> 10} KB" if size < 1 << 20 else f"{size >> 20} MB" for size in sizes}
    print(f"{'median us (ratio to the first)':<32}" + "".join(f"{label[size]:>18}" for size in sizes))
    for name in ways:
        cells = [f"{np.median(times[name, s]) / 1e3:.0f} ({ratio(times, name, bare, s):.1f}x)" for s in sizes]
        print(f"{name:<32}" + "".join(f"{cell:>18}" for cell in cells))
        if name in AT_MOST:
            limits = [f"at most {AT_MOST[name][s]}x" if s in AT_MOST[name] else "-" for s in sizes]
            print(f"{'':<32}" + "".join(f"{limit:>18}" for limit in limits))
    print(f"{'n':<32}" + "".join(f"{len(times[bare, size]):>18}" for size in sizes))
    print()
    print(f"first of each {turn} alone, us")
    for name in ways:
        print(f"{name:<32}" + "".join(f"{np.median(times[name, s][::turn]) / 1e3:>18.0f}" for s in sizes))
    print()
    print(f"{'over the same library, bare':<32}" + "".join(f"{label[size]:>18}" for size in sizes))
    for name, base in SAME_SOCKET.items():
        if name in ways and base in ways:
            extra = {s: (np.median(times[name, s]) - np.median(times[base, s])) / 1e3 for s in sizes}
            cells = [f"{extra[s]:+.0f} us ({1e5 * extra[s] / np.median(times[base, s]):+.1f} %)" for s in sizes]
            print(f"{name:<32}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"{'at most':<32}" + "".join(f"{'5 %' if s >= 256 << 10 else '15 us':>18}" for s in sizes))


def main(
    rounds: int = 50,
    turn: int = 20,
    apart: bool = True,
    sizes: Sequence[int] = SIZES,
    ways: Sequence[str] = tuple(WAYS),
) -> None:
    """Measure `turn` requests of each way in a row and print the tables, which compare every way with the first."""
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; measure on a quiet machine")
    report(measure(ways, sizes, rounds, turn, apart), ways, sizes, turn)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
