"""What each defense costs the device: work, size, time and memory of its head and its protection, measured alone.

Each split folder is measured in a process of its own with one thread, one after the other, to measure its memory alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from tyro.conf import Positional

if TYPE_CHECKING:
    from cutlayer.records.run import Result

REQUESTS, SECONDS = 300, 5.0
"""Most requests to measure, and the time in seconds after which no further one is started."""
HEAD = ("data", "defense", "params", "MACs", "released", "head p50", "protect p50", "memory", "n")


def costs(runs: Path, results: Sequence[Result]) -> str:
    """One line for each setting of the first seed, the undefended model first."""
    first = min(result.seed for result in results)
    chosen = [result for result in results if result.seed == first]
    chosen.sort(key=lambda r: (r.data, not r.undefended, r.defense_label))
    lines = ["The device's share: one thread, batch 1", _line(HEAD)]
    for result in chosen:
        words = [sys.executable, __file__, "--folder", str(runs / result.id / "split")]
        cost = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        cells = [f"{cost['params']:,}", f"{cost['macs']:,}", f"{cost['released_bytes']:,} B"]
        cells += [f"{cost['head_us']:.0f} us", f"{cost['protect_us']:.1f} us", f"{cost['rss_bytes'] / 1e6:.0f} MB"]
        lines.append(_line([result.data, result.defense_label, *cells, str(cost["n"])]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    data, defense, *numbers = cells
    return f"{data:14}{defense[:48]:48}" + "".join(f"{cell:>14}" for cell in numbers)


def measure(folder: Path) -> dict[str, float]:
    """Measure one deployment. Before its memory is read, only what the device needs is loaded."""
    import psutil

    from cutlayer.defenses.base import deployed
    from cutlayer.machine.compute import tune_allocator
    from cutlayer.split_folder import open_split

    tune_allocator()
    split = open_split(folder)
    defense, head = deployed(split), split.head()
    rng = np.random.default_rng(0)
    images = rng.random((REQUESTS, 1, *split.manifest.input.shape), np.float32)
    released = defense.protect(head(images[0]), rng)
    head_ns, protect_ns, end = [], [], time.monotonic() + SECONDS
    for image in images:
        start = time.monotonic_ns()
        smashed = head(image)
        computed = time.monotonic_ns()
        defense.protect(smashed, rng)
        protect_ns.append(time.monotonic_ns() - computed)
        head_ns.append(computed - start)
        if time.monotonic() > end:
            break
    cost = {
        "n": len(head_ns),
        "head_us": statistics.median(head_ns) / 1e3,
        "protect_us": statistics.median(protect_ns) / 1e3,
        "rss_bytes": psutil.Process().memory_info().rss,
        "released_bytes": released.nbytes,
    }
    from cutlayer.defenses.surgery.budget import macs

    halves = split.halves()
    n_macs = sum(macs(halves.head, halves.input).values())
    return cost | {"params": sum(p.numel() for p in halves.head.parameters()), "macs": n_macs}


def main(runs: Positional[Path] = Path("runs/defenses"), folder: Path | None = None) -> None:
    """Print the table of these runs, or the cost of one split folder as JSON."""
    if folder is not None:
        print(json.dumps(measure(folder)))
    else:
        from cutlayer.records.reading import read

        print(costs(runs, [run.result for run in read(runs)[0]]))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
