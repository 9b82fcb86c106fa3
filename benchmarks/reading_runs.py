"""How long it takes to read the results of many runs: through the index, and from the folders.

    python -m benchmarks.reading_runs [--runs 1000] [--rounds 10]

Copies of one recorded run under other ids, in a temporary folder. The two ways take turns; the files are in the page
cache for both, which favors the folders: on a network's file system each file would be a round trip of its own. CPU
time stands beside the time on the clock, because other processes do not change it.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cutlayer.records.found import make_index
from cutlayer.records.reading import read, read_result, results

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "run"


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Make the runs, take turns, and print medians with the least and greatest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as parent:
        runs = Path(parent)
        value = json.loads((GOLDEN / "result.json").read_text())
        for number in range(asked.runs):
            folder = runs / f"{number:012x}"
            folder.mkdir()
            (folder / "result.json").write_text(json.dumps(value | {"id": folder.name}, indent=1))
            (folder / "env.json").write_bytes((GOLDEN / "env.json").read_bytes())
        made, _ = timed(lambda: make_index(runs))
        folders = sorted(runs.iterdir())
        ways = {
            "results, from the folders": lambda: [read_result(f) for f in folders if f.is_dir()],
            "results, through the index": lambda: list(results(runs)),
            "results and env.json, through the index": lambda: read(runs, arrays=False),
        }
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(asked.rounds):
            for way, work in ways.items():
                times[way].append(timed(work))
        size = (runs / "index.sqlite").stat().st_size
    print(f"{asked.runs} runs, {asked.rounds} rounds; the index has {size / 1e6:.1f} MB and took {made:.2f} s to make")
    for way, found in times.items():
        walls, cpus = zip(*found, strict=True)
        clock = f"{statistics.median(walls):.3f} s ({min(walls):.3f} to {max(walls):.3f})"
        print(f"{way:42}{clock}, CPU {statistics.median(cpus):.3f} s ({min(cpus):.3f} to {max(cpus):.3f})")


if __name__ == "__main__":
    main()
