"""How much slower than a bare socket an array gets to another process, by our wire and by the usual ways.

    .venv/bin/python benchmarks/wire.py [--rounds 300] [--turn 1] [--sizes 4096 65536 262144 1048576 8388608]

Request up, 40 bytes down, one client, one request in flight, loopback, each side of each way in a process of its own.
All ways take turns within one run, a request each, in an order drawn anew for each round; so each request meets caches
that others have used, as it does after a head has computed. With --turn 10 it is ten in a row, of which the first does
not count. Ratios are of medians to a bare TCP socket without framing; at 1 MB, where the bare socket has two modes, of
fastest deciles. What we add is the difference of our median to that of the same library used bare.
"""

import argparse
import gc
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray
from wire_peers import WAYS

from cutlayer.compute import tune_allocator

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


def measure(ways: Sequence[str], sizes: Sequence[int], rounds: int, turn: int) -> Times:
    """Round trips in ns, of each way at each size."""
    context = multiprocessing.get_context("spawn")
    clients: dict[str, Connection] = {}
    for name in ways:
        server, server_end = context.Pipe()
        context.Process(target=_serve, args=(name, sizes, server_end), daemon=True).start()
        clients[name], client_end = context.Pipe()
        context.Process(target=_ask, args=(name, server.recv(), client_end), daemon=True).start()
        client_end.close()  # so that a client which fails ends the run
        clients[name].recv()
    taken: dict[tuple[str, int], list[int]] = {(name, size): [] for name in ways for size in sizes}
    for size in sizes:
        # Above 1 MB no more bytes than at 1 MB, where that leaves enough requests.
        least = -(-LEAST_REQUESTS // max(1, turn - 1))
        warmup = -(-WARMUP_REQUESTS // turn)
        for number in range(warmup + max(least, min(rounds, rounds * BIMODAL // size))):
            for name in random.sample(list(ways), len(ways)):
                clients[name].send((size, turn))
                ns = clients[name].recv()
                if number >= warmup:
                    taken[name, size] += ns[1:] or ns
    for process in multiprocessing.active_children():
        process.kill()
    return {key: np.array(values) for key, values in taken.items()}


def _serve(name: str, sizes: Sequence[int], parent: Connection) -> None:
    if WAYS[name].tuned:
        tune_allocator()
    ports, server = WAYS[name].serve(sizes)
    parent.send(ports)
    threading.Event().wait()
    del server


def _ask(name: str, ports: Mapping[int, int], parent: Connection) -> None:
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
        one, taken = ask[size], []
        for _ in range(turn):
            start = time.perf_counter_ns()
            one()
            taken.append(time.perf_counter_ns() - start)
        parent.send(taken)


def ratio(times: Times, name: str, base: str, size: int) -> float:
    """Of medians; of fastest deciles where the bare socket has two modes."""
    q = 10 if size == BIMODAL else 50
    return float(np.percentile(times[name, size], q) / np.percentile(times[base, size], q))


def report(times: Times, ways: Sequence[str], sizes: Sequence[int]) -> None:
    """Print the tables."""
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
    print(f"{'over the same library, bare':<32}" + "".join(f"{label[size]:>18}" for size in sizes))
    for name, base in SAME_SOCKET.items():
        if name in ways and base in ways:
            extra = {s: (np.median(times[name, s]) - np.median(times[base, s])) / 1e3 for s in sizes}
            cells = [f"{extra[s]:+.0f} us ({1e5 * extra[s] / np.median(times[base, s]):+.1f} %)" for s in sizes]
            print(f"{name:<32}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"{'at most':<32}" + "".join(f"{'5 %' if s >= 256 << 10 else '15 us':>18}" for s in sizes))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--turn", type=int, default=1, help="requests in a row")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="the first is what the others are compared with")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; measure on a quiet machine")
    times = measure(options.ways, options.sizes, options.rounds, options.turn)
    report(times, options.ways, options.sizes)


if __name__ == "__main__":
    main()
