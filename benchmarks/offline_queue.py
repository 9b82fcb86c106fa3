"""What the queue on disk adds to a request: a write ahead while the server answers, a sync while it is gone.

.venv/bin/python benchmarks/offline_queue.py [--folder DIR] [--rounds 500]
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import tyro

from cutlayer.edge.offline.queue import Queue
from cutlayer.wire.message import Kind, Message

SIZES = {"4 KB": 4 << 10, "32 KB": 32 << 10, "256 KB": 256 << 10, "1.6 MB": 1605632}
MOST_BYTES = 256 << 20


def times(folder: Path, n_bytes: int, rounds: int) -> tuple[list[float], list[float]]:
    """Times in microseconds to write ahead and mark as done, and to write and sync, in turn on one disk."""
    ahead, synced = [], []
    request = Message(Kind.INFER, bytes(160), (os.urandom(n_bytes),))
    live, gone = Queue(folder / "live", MOST_BYTES), Queue(folder / "gone", MOST_BYTES, drop_oldest=True)
    for _ in range(rounds):
        start = time.perf_counter_ns()
        place, _ = live.put(request)
        live.done(place)
        middle = time.perf_counter_ns()
        gone.put(request)
        gone.sync()
        synced.append((time.perf_counter_ns() - middle) / 1e3)
        ahead.append((middle - start) / 1e3)
    live.close()
    gone.close()
    return ahead, synced


def main(folder: Path | None = None, rounds: int = 500) -> None:
    """Print one row for each size of tensor, measured on the disk of `folder`."""
    print(f"{'tensor':<10}{'written ahead, µs':>20}{'synced, µs':>14}   (median, n = {rounds})")
    for name, n_bytes in SIZES.items():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            ahead, synced = times(Path(scratch), n_bytes, rounds)
        print(f"{name:<10}{statistics.median(ahead):>20,.0f}{statistics.median(synced):>14,.0f}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
