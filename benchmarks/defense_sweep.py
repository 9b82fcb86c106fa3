"""Every defense at three strengths and two seeds, on real processes and sockets, under attackers that know it.

Runs `experiments/defenses-*.toml` on each data set in two processes with one thread each, then prints the table and the
cost of each defense on the device. A second call continues an interrupted one. Times of requests are measured while the
other process works; the second table, the cost on the device, is measured alone.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import tyro
from tyro.conf import UseAppendAction

from benchmarks.defense_cost import costs
from cutlayer.data.load import load
from cutlayer.errors import DataError
from cutlayer.records.reading import read
from cutlayer.report.runs.page import write
from cutlayer.report.runs.terminal import text

PLANS = ("noise", "masks", "trained", "crafter")
PROCESSES = 2
HERE = Path(__file__).parent.parent


def main(
    data: tuple[str, ...] = ("photos", "fashion-mnist"),
    out: Path = Path("runs/defenses"),
    set: UseAppendAction[tuple[str, ...]] = (),
) -> None:
    """Run the plans with the settings of `--set`, as `cutlayer run` takes them, then print the tables."""
    start = time.monotonic()
    present = [name for name in data if _present(name)]
    workers = [_worker(k, present, out, set) for k in range(1, PROCESSES + 1)]
    codes = [worker.wait() for worker in workers]
    if any(codes):
        sys.exit("A run failed, with the message above; call this again to run the rest.")
    minutes = (time.monotonic() - start) / 60
    results = [run.result for run in read(out)[0]]
    print(text(results))
    print(f"{len(results)} runs; {minutes:.1f} minutes for those that were not finished before")
    print(costs(out, results))
    print(f"The report is {write(out)}")


def _present(name: str) -> bool:
    try:
        load(name)
    except DataError as error:
        print(f"{name} is left out: {error}")
        return False
    return True


def _worker(part: int, data: Sequence[str], out: Path, settings: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that runs its part of each plan, one after the other."""
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    commands = []
    for plan in PLANS:
        for name in data:
            words = [sys.executable, "-m", "cutlayer.cli", "run", HERE / f"experiments/defenses-{plan}.toml"]
            words += ["--out", out, "--part", f"{part}/{PROCESSES}", "--set", f"data={name}"]
            commands.append([*map(str, words), *(word for setting in settings for word in ("--set", setting))])
    code = "import json, subprocess, sys\nfor words in json.loads(sys.argv[1]):\n    subprocess.run(words, check=True)"
    return subprocess.Popen([sys.executable, "-c", code, json.dumps(commands)], env={**os.environ, **threads})


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
