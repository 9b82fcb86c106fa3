"""What updates give away, on five data sets: the studies of experiments/gradients-*.toml, and one table of all.

    .venv/bin/python benchmarks/gradients.py --data-root DIR
    .venv/bin/python benchmarks/gradients.py --data-root DIR --only mnist bank

Each study is a process with one thread, two at a time. What is finished is kept, so that a benchmark that was stopped
goes on. Which attack is run where, with how many steps, images and seeds, stands in the plans.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tyro

from cutlayer.experiment.gradient_plan import load
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.reading import Study, studies
from cutlayer.report.gradients.terminal import attacks, text

PLANS = Path(__file__).parents[1] / "experiments"
NAMES = ("mnist", "cifar", "mlp", "lfw", "fashion", "bank")
"""The longest first."""


def main(
    only: tuple[str, ...] = NAMES, jobs: int = 2, out: Path = Path("runs/gradients"), data_root: Path | None = None
) -> None:
    """Run the studies, and print their tables.

    Args:
        only: Names of the studies: mnist, cifar, mlp, lfw, fashion, bank.
        jobs: Studies at a time.
        out: Folder of the records, for `cutlayer report` too.
        data_root: Folder of the data sets.
    """
    began = time.perf_counter()
    ids = {load(PLANS / f"gradients-{name}.toml").victim.id: name for name in only}
    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        codes = list(pool.map(lambda name: run(name, out, data_root), only))
    found = {ids[study.folder.name]: study for study in studies(out)[0] if study.folder.name in ids}
    for name in only:
        if name in found:
            print(f"\n{text(found[name].records)}\n\n{attacks(found[name].records)}")
    minutes, computed = (time.perf_counter() - began) / 60, sum(spent_s(study) for study in found.values()) / 60
    print(f"\n{minutes:.0f} minutes; the attacks computed {computed:.0f} minutes in all.")
    sys.exit(max(codes, default=0))


def run(name: str, out: Path, data_root: Path | None) -> int:
    """Run one study in a process of its own; return its exit code."""
    plan = PLANS / f"gradients-{name}.toml"
    command = [sys.executable, "-m", "cutlayer.cli", "gradients", str(plan), "--out", str(out)]
    command += ["--data-root", str(data_root)] if data_root else []
    env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (out / f"{name}.log").open("a") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=env, check=False).returncode
    print(f"{name}: {'finished' if not code else f'ended with code {code}'}; see {out / name}.log", flush=True)
    return code


def spent_s(study: Study[UpdateRecord]) -> float:
    """Time in seconds that the attacks of a study took."""
    return sum(record.seconds for record in study.records)


if __name__ == "__main__":
    tyro.cli(main)
