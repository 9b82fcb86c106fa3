"""Side-by-side timing: each contender in a process of its own, in turns, so that all run under the same conditions.

Each has its own process, because some settings, above all those of the allocator, hold for a whole process.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

Prepare = Callable[[], Callable[[], int]]
"""Sets up once, in its process, and returns a function that does the work and gives the number of images."""


def compare(
    contenders: Mapping[str, Prepare], rounds: int = 5, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Time the contenders in turn and print a table in which the others are compared with the first.

    Args:
        contenders: What is compared, by name.
        rounds: Turns of each.
        clock: Seconds; `time.process_time` counts those of the processor alone, which other work on it hardly changes.

    Returns:
        Median seconds per image of each contender.
    """
    context = multiprocessing.get_context("spawn")
    ends: dict[str, Connection] = {}
    for name, prepare in contenders.items():
        ends[name], child = context.Pipe()
        context.Process(target=_contend, args=(prepare, child, clock), daemon=True).start()
    for end in ends.values():
        end.recv()  # ready, after a turn for warm-up
    seconds: dict[str, list[float]] = {name: [] for name in ends}
    for _ in range(rounds):
        for name, end in ends.items():
            end.send("go")
            seconds[name].append(end.recv())
    for end in ends.values():
        end.send(None)
    first = next(iter(seconds))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{'':40}  ms/image       min       max     ratio   (median of {rounds} rounds, in turns)")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[first], values, strict=True))
        figures = [1e3 * value for value in (medians[name], min(values), max(values))]
        print(f"{name:40}" + "".join(f"{figure:10.3f}" for figure in figures) + f"{ratio:9.2f}x")
    return medians


def _contend(prepare: Prepare, parent: Connection, clock: Callable[[], float]) -> None:
    work = prepare()
    work()
    parent.send("ready")
    while parent.recv():
        start = clock()
        n_images = work()
        parent.send((clock() - start) / n_images)
