"""What the queue on disk adds to a request: a write ahead while the server answers, a sync while it is gone.

.venv/bin/python benchmarks/offline_queue.py [--folder DIR] [--rounds 500]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from cutlayer.wire.message import Kind, Message
from edge.offline.queue import Queue

SIZES = {"4 KB": 4 << 10, "32 KB": 32 << 10, "256 KB": 256 << 10, "1.6 MB": 1605632}
MOST_BYTES = 256 << 20


def times(folder: Path, n_bytes: int, rounds: int) -> tuple[list[float], list[float]]:
    """Times in microseconds to write ahead and mark as done, and to write and sync, in turn on one disk."""
    ahead, synced = [], []
    request = Message(Kind.INFER, bytes(160), (os.urandom(n_bytes),))
    live, gone = Queue(folder / "live", MOST_BYTES), Queue(folder / "gone", MOST_BYTES, drop_oldest=True)
    for _ in range(rounds):
        start = time.perf_counter_ns()
        live.put(request)
        live.done()
        middle = time.perf_counter_ns()
        gone.put(request)
        gone.sync()
        synced.append((time.perf_counter_ns() - middle) / 1e3)
        ahead.append((middle - start) / 1e3)
    live.close()
    gone.close()
    return ahead, synced


def main() -> None:
    """Print one row for each size of tensor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder on the disk to be measured")
    parser.add_argument("--rounds", type=int, default=500)
    options = parser.parse_args()
    print(f"{'tensor':<10}{'written ahead, µs':>20}{'synced, µs':>14}   (median, n = {options.rounds})")
    for name, n_bytes in SIZES.items():
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            ahead, synced = times(Path(folder), n_bytes, options.rounds)
        print(f"{name:<10}{statistics.median(ahead):>20,.0f}{statistics.median(synced):>14,.0f}")


if __name__ == "__main__":
    main()
