"""What updates give away, on six data sets: the studies of experiments/gradients-*.toml, and one table of all.

    .venv/bin/python -m benchmarks.gradients --data-root DIR
    .venv/bin/python -m benchmarks.gradients --data-root DIR --only mnist bank

Each study is a process with one thread, two at a time. What is finished is kept, so that a benchmark that was stopped
goes on. Which attack is run where, with how many steps, images and seeds, stands in the plans.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import tyro

from benchmarks.studies import plan, run
from cutlayer.experiment.gradient_plan import load
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.reading import Study, studies
from cutlayer.report.gradients.terminal import attacks, text

NAMES = ("mnist", "cifar", "mlp", "lfw", "text", "fashion", "bank")
"""The longest first."""


def main(
    only: tuple[str, ...] = NAMES, jobs: int = 2, out: Path = Path("runs/gradients"), data_root: Path | None = None
) -> None:
    """Run the studies, and print their tables.

    Args:
        only: Names of the studies: mnist, cifar, mlp, lfw, text, fashion, bank.
        jobs: Studies at a time.
        out: Folder of the records, for `cutlayer report` too.
        data_root: Folder of the data sets.
    """
    began = time.perf_counter()
    ids = {load(plan("gradients", name)).victim.id: name for name in only}
    code = run("gradients", only, jobs=jobs, out=out, data_root=data_root)
    found = {ids[study.folder.name]: study for study in studies(out)[0] if study.folder.name in ids}
    for name in only:
        if name in found:
            print(f"\n{text(found[name].records)}\n\n{attacks(found[name].records)}")
    minutes, computed = (time.perf_counter() - began) / 60, sum(spent_s(study) for study in found.values()) / 60
    print(f"\n{minutes:.0f} minutes; the attacks computed {computed:.0f} minutes in all.")
    sys.exit(code)


def spent_s(study: Study[UpdateRecord]) -> float:
    """Time in seconds that the attacks of a study took."""
    return sum(record.seconds for record in study.records)


if __name__ == "__main__":
    tyro.cli(main)
