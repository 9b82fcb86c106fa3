"""How much other processes competed for the machine while this one was measured, as far as the system tells."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from pathlib import Path
from typing import NamedTuple

import psutil

_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
"""The names in psutil of the times in which a core was not free; "steal" is what a hypervisor gave to others."""


class Moment(NamedTuple):
    """The counters of the system at one moment.

    Attributes:
        wall_ns: The monotonic clock.
        cpu_ns: CPU time of this process, all threads together, or of the processes that it started and that ended.
        waited_ns: For each thread, by its number: how long it was ready to run and had no core; empty where the system
            does not tell.
        busy_ns: CPU time of everything that runs on this machine.
    """

    wall_ns: int
    cpu_ns: int
    waited_ns: dict[str, int]
    busy_ns: int


class Contention(NamedTuple):
    """How this process shared the machine between two moments.

    Attributes:
        wall_ns: Elapsed time.
        cpu_ns: CPU time of this process.
        waited_ns: Longest time that one thread waited for a core; 0 where the system does not tell.
        others: Share of all cores of the machine that other processes took.
    """

    wall_ns: int
    cpu_ns: int
    waited_ns: int
    others: float


def moment(*, started: bool = False) -> Moment:
    """Read the counters now; `started` takes the CPU time of the processes that this one started and that ended."""
    times = psutil.cpu_times()
    busy_s = sum(getattr(times, name, 0.0) for name in _BUSY)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_ns = round(1e9 * (ended.ru_utime + ended.ru_stime)) if started else time.process_time_ns()
    return Moment(time.monotonic_ns(), cpu_ns, _waits(), round(1e9 * busy_s))


def family_moment() -> Moment:
    """Read the counters now, with the CPU time of this process and of all that it started; `waited_ns` is empty.

    A process that started or ended between two moments is counted in neither, or with all its time: take no such time.
    """
    times = psutil.Process().cpu_times()
    cpu_s = times.user + times.system + times.children_user + times.children_system
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            cpu_s += times.user + times.system + times.children_user + times.children_system
    return moment()._replace(cpu_ns=round(1e9 * cpu_s), waited_ns={})


def between(before: Moment, after: Moment) -> Contention:
    """Subtract the counters of two moments."""
    wall_ns, cpu_ns = after.wall_ns - before.wall_ns, after.cpu_ns - before.cpu_ns
    waited = [ns - before.waited_ns.get(thread, ns) for thread, ns in after.waited_ns.items()]
    others_ns = max(0, after.busy_ns - before.busy_ns - cpu_ns)
    return Contention(wall_ns, cpu_ns, max(waited, default=0), others_ns / (wall_ns * (os.cpu_count() or 1)))


def _waits() -> dict[str, int]:
    waited_ns = {}
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            waited_ns[thread.name] = int((thread / "schedstat").read_text().split()[1])
    return waited_ns
