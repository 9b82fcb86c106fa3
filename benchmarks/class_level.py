"""What a model's answers and weights give away of its classes: the studies of experiments/class-level-*.toml.

    .venv/bin/python -m benchmarks.class_level --data-root DIR
    .venv/bin/python -m benchmarks.class_level --data-root DIR --only mnist --seeds 0

Each study is a process with one thread, two at a time. What is finished is kept, so that a benchmark that was stopped
goes on. Which attack is run where, with how many steps, pictures and seeds, stands in the plans.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import tyro

from benchmarks.studies import plan, run
from cutlayer.experiment.class_plan import load
from cutlayer.records.reading import class_studies
from cutlayer.report.class_level.terminal import text

NAMES = ("faces", "mnist")
"""The longest first."""


def main(
    only: tuple[str, ...] = NAMES,
    jobs: int = 2,
    seeds: tuple[int, ...] = (),
    out: Path = Path("runs/class-level"),
    data_root: Path | None = None,
) -> None:
    """Run the studies, and print their tables.

    Args:
        only: Names of the studies, as in experiments/class-level-NAME.toml.
        jobs: Studies at a time.
        seeds: Seeds in place of those of the plans.
        out: Folder of the records, for `cutlayer report` too.
        data_root: Folder of the data sets.
    """
    began = time.perf_counter()
    settings = [f"seed={list(seeds)}"] if seeds else []
    ids = {load(plan("class-level", name)).victim.id: name for name in only}
    code = run("class-level", only, jobs=jobs, out=out, data_root=data_root, settings=settings)
    found = {ids[study.folder.name]: study for study in class_studies(out)[0] if study.folder.name in ids}
    for name in only:
        if name in found:
            print(f"\n{text(found[name].records)}")
    minutes = (time.perf_counter() - began) / 60
    computed = sum(record.seconds for study in found.values() for record in study.records) / 60
    print(f"\n{minutes:.0f} minutes; the attacks computed {computed:.0f} minutes in all.")
    sys.exit(code)


if __name__ == "__main__":
    tyro.cli(main)
