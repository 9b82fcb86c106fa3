"""How long the device computed, and what the system counted meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cutlayer.machine.throttling import Reading
from cutlayer.records.profile import QuotaRecord


@dataclass(frozen=True)
class Timing:
    """Runs of the head, or of the whole model, in a device's process; `CutRecord` has most of these figures.

    Attributes:
        ns: Time of each run.
        wall_ns: Time of all runs together.
        waited_ns: Time that the process was ready to run and had no core.
        others: Share of all cores that other processes took.
        joules: Energy of one run; None where no meter can be read.
        own_clock_hz: Clock of the core that computed last, at the end; None where the system does not tell.
    """

    ns: tuple[int, ...]
    wall_ns: int
    cpu_ns: int
    waited_ns: int
    others: float
    peak_rss_bytes: int
    joules: float | None
    held_back: tuple[str, ...]
    quota: QuotaRecord | None
    temperature_c: Reading | None
    clock_hz: Reading | None
    own_clock_hz: float | None = None

    @property
    def cpu_share(self) -> float:
        """CPU time of the process for each second that passed."""
        return self.cpu_ns / self.wall_ns


def together(timings: Sequence[Timing]) -> Timing:
    """The timings of several rounds as one; the peak of memory is that of the first."""
    first, wall_ns = timings[0], sum(timing.wall_ns for timing in timings)
    clocks = [timing.clock_hz for timing in timings if timing.clock_hz]
    temperatures = [timing.temperature_c for timing in timings if timing.temperature_c]
    spent = [timing.joules * len(timing.ns) for timing in timings if timing.joules is not None]
    n_runs = sum(len(timing.ns) for timing in timings)
    return replace(
        first,
        ns=tuple(ns for timing in timings for ns in timing.ns),
        wall_ns=wall_ns,
        cpu_ns=sum(timing.cpu_ns for timing in timings),
        waited_ns=sum(timing.waited_ns for timing in timings),
        others=float(np.average([t.others for t in timings], weights=[t.wall_ns for t in timings])),
        joules=sum(spent) / n_runs if len(spent) == len(timings) else None,
        held_back=tuple(dict.fromkeys(cause for timing in timings for cause in timing.held_back)),
        quota=_quota([timing.quota for timing in timings if timing.quota]),
        temperature_c=max(temperatures, key=lambda reading: reading.value, default=None),
        clock_hz=min(clocks, key=lambda reading: reading.value, default=None),
    )


def _quota(quotas: Sequence[QuotaRecord]) -> QuotaRecord | None:
    if not quotas:
        return None
    counts = {name: sum(getattr(q, name) for q in quotas) for name in ("periods", "throttled_periods", "throttled_ns")}
    return replace(quotas[0], **counts)
