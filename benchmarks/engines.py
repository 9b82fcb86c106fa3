"""What the engines of a grid cost: the time that Ray and submitit add to each trial, and what a second worker gains.

    python benchmarks/engines.py [--rounds 3] [--seeds 4]

Each engine runs the same tiny trials in a folder of its own, one at a time, in turns; the training that they share is a
task as well. `start` is the time until an engine has run a task that does nothing; `trial` is the rest, by task.
Then the local engine runs the trials with one worker and with two, in turns. Medians over the rounds. Two workers gain
what there are cores for: each trial has one thread, and its device and its server are processes of their own.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import tyro

from cutlayer.experiment import plan
from cutlayer.experiment.engines.base import Engine, Task
from cutlayer.experiment.grid import planned
from cutlayer.registry import ENGINES

ENGINE_NAMES = ("local", "ray", "slurm")
NOTHING = Task("nothing", "builtins:dict", {})


def tasks(seeds: int, folder: Path) -> list[Task]:
    """Two defenses for each seed, and the training that they share."""
    experiments = plan.parse({
        "name": "engines", "data": "digits", "model": "lenet", "cut": "conv1", "seed": list(range(seeds)),
        "training": {"epochs": 1}, "measure": {"count": 20, "private": 10, "warmup": 1},
        "defense": [{"name": "none"}, {"name": "quantize", "bits": 3}],
        "attack": [{"name": "mean-image"}, {"name": "ridge"}],
    })  # fmt: skip
    return list(planned(experiments, {"runs": str(folder), "data_root": None, "threads": 1}, None))


def timed(engine: Engine, work: Sequence[Task], folder: Path) -> tuple[float, float]:
    """Seconds until the first task, which does nothing, and seconds for all others."""
    begin_s = time.perf_counter()
    for outcome in engine.run([NOTHING, *work], folder / "work"):
        if outcome.error:
            raise SystemExit(f"{outcome.key}: {outcome.error}")
        if outcome.key == NOTHING.key:
            started_s = time.perf_counter()
    return started_s - begin_s, time.perf_counter() - started_s


def main(rounds: int = 3, seeds: int = 4) -> None:
    """Print both tables."""
    start: dict[str, list[float]] = {name: [] for name in ENGINE_NAMES}
    each: dict[str, list[float]] = {name: [] for name in ENGINE_NAMES}
    whole: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for name in ENGINE_NAMES:
            with tempfile.TemporaryDirectory() as folder:
                work = tasks(seeds, Path(folder))
                start_s, rest_s = timed(ENGINES.make(name, workers=1), work, Path(folder))
            start[name].append(start_s)
            each[name].append(rest_s / len(work))
        for workers, seconds in whole.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds.append(
                    sum(timed(ENGINES.make("local", workers=workers), tasks(seeds, Path(folder)), Path(folder)))
                )
    print(f"{'engine':10}{'start':>10}{'trial':>10}{'over local':>14}   (median of {rounds} rounds, {len(work)} tasks)")
    local_s = statistics.median(each["local"])
    for name in ENGINE_NAMES:
        trial_s = statistics.median(each[name])
        print(f"{name:10}{statistics.median(start[name]):8.2f} s{trial_s:8.2f} s{trial_s - local_s:+12.2f} s")
    gain = statistics.median(one / two for one, two in zip(whole[1], whole[2], strict=True))
    print(f"two workers over one: {gain:.2f} times as fast ({', '.join(f'{s:.1f} s' for s in whole[1] + whole[2])})")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
