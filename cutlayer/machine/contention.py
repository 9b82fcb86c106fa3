"""Whether this process had the machine to itself for a while, as far as the system tells."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

import psutil

_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
"""What psutil calls time that a core was not free; a hypervisor that took it for another machine steals it."""


class Moment(NamedTuple):
    """Counters that go on.

    Attributes:
        wall_ns: Of a clock.
        cpu_ns: Processor time of this process, all threads together.
        waited_ns: That each thread, by its number, was ready to run and had no core; empty where nothing tells.
        busy_ns: Processor time of all that runs on this machine.
    """

    wall_ns: int
    cpu_ns: int
    waited_ns: dict[str, int]
    busy_ns: int


class Contention(NamedTuple):
    """Between two moments.

    Attributes:
        wall_ns: That passed.
        cpu_ns: Processor time of this process.
        waited_ns: That the thread which waited longest for a core did so; 0 where nothing tells.
        others: Share of all cores of the machine that something else took.
    """

    wall_ns: int
    cpu_ns: int
    waited_ns: int
    others: float


def moment() -> Moment:
    """Now."""
    times = psutil.cpu_times()
    busy_s = sum(getattr(times, name, 0.0) for name in _BUSY)
    return Moment(time.monotonic_ns(), time.process_time_ns(), _waits(), round(1e9 * busy_s))


def between(before: Moment, after: Moment) -> Contention:
    """What happened from one moment to another."""
    wall_ns, cpu_ns = after.wall_ns - before.wall_ns, after.cpu_ns - before.cpu_ns
    waited = [ns - before.waited_ns.get(thread, ns) for thread, ns in after.waited_ns.items()]
    others_ns = max(0, after.busy_ns - before.busy_ns - cpu_ns)
    return Contention(wall_ns, cpu_ns, max(waited, default=0), others_ns / (wall_ns * (os.cpu_count() or 1)))


def _waits() -> dict[str, int]:
    found = {}
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            found[thread.name] = int((thread / "schedstat").read_text().split()[1])
    return found
