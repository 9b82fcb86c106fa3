"""Clock, cores, memory and disk of the device."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil

import cutlayer
from cutlayer.doctor.finding import Finding, fault, note, ok
from cutlayer.machine.cgroup import quota_in_force, text
from cutlayer.machine.limits import cores

LEAST_MEMORY_BYTES = 128 << 20
"""Twice the memory of a device's process, which leaves room for a head."""

LEAST_DISK_BYTES, QUEUE_BYTES = 64 << 20, 256 << 20
"""Least free space for records, and the default limit of `--on-offline queue`."""

COARSE_NS = 10_000
"""Longest step of a clock that can still time the shorter stages of a request."""

READINGS = 1000
_SLOW_SOURCES = ("hpet", "acpi_pm", "jiffies", "pit")
_CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def check_machine(folder: Path) -> Iterator[Finding]:
    """Check the machine, and the disk that holds this folder."""
    yield _clock()
    yield _date()
    yield from _cores()
    yield _memory()
    yield _disk(folder)


def _clock() -> Finding:
    info, source = time.get_clock_info("monotonic"), text(_CLOCK) or "unknown"
    readings = [time.monotonic_ns() for _ in range(READINGS)]
    cost_ns = (readings[-1] - readings[0]) / (READINGS - 1)
    steps = [after - before for before, after in pairwise(readings) if after > before]
    step_ns = min(steps, default=info.resolution * 1e9)
    says = f"{info.implementation}, source {source}, a step of {step_ns:,.0f} ns, {cost_ns:,.0f} ns a reading"
    if step_ns > COARSE_NS:
        return fault(
            "clock", says, "the stages of a request cannot be timed here; measure with another kernel or machine"
        )
    if source in _SLOW_SOURCES:
        return note(
            "clock", says, "boot with clocksource=tsc if the processor allows it, or subtract the time of the readings"
        )
    return ok("clock", says)


def _date() -> Finding:
    now, installed = time.time(), Path(cutlayer.__file__).stat().st_mtime
    says = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if now < installed - 86_400:
        return fault(
            "date",
            f"{says}, before cutlayer was installed",
            "set the clock; certificates are not valid before their first day",
        )
    return ok("date", says)


def _cores() -> Iterator[Finding]:
    allowed, quota = len(cores() or ()) or os.cpu_count() or 1, quota_in_force()
    yield ok("cores", f"{allowed} of {os.cpu_count()} can be used, load {os.getloadavg()[0]:.1f}")
    if quota is not None and quota.cpus < allowed:
        yield note(
            "cores",
            f"a quota allows {quota.cpus:.2f} of a core, and pauses the process when it is used up",
            "raise CPUQuota of the service or container, or expect pauses in the times",
        )
    governor = text(_GOVERNOR)
    if governor in ("powersave", "conservative"):
        yield note(
            "cores",
            f"the frequency governor is {governor}",
            "for times that do not depend on earlier load: cpupower frequency-set -g performance",
        )


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    limit = text(_cgroup() / "memory.max")
    available = min(memory.available, int(limit)) if limit.isdecimal() else memory.available
    says = f"{available >> 20:,} MiB available of {memory.total >> 20:,}"
    if available < LEAST_MEMORY_BYTES:
        return fault("memory", says, f"end other processes; the device's process needs {LEAST_MEMORY_BYTES >> 20} MiB")
    return ok("memory", says)


def _disk(path: Path) -> Finding:
    path = path.resolve()
    try:
        free = shutil.disk_usage(path).free
    except OSError as error:
        return fault("disk", f"{path}: {str(error.strerror).lower()}", "name an existing folder")
    says = f"{free >> 20:,} MiB free at {path}"
    if free < LEAST_DISK_BYTES:
        return fault("disk", says, "free some space for records and queued requests")
    if not os.access(path, os.W_OK):
        return note("disk", f"{says}, which cannot be written", "name other folders with --queue and --record")
    if free < QUEUE_BYTES:
        return note("disk", says, f"give --on-offline queue a --queue-mib of less than {free >> 20:,}")
    return ok("disk", says)


def _cgroup() -> Path:
    """Return the folder of this process in version 2 of cgroups."""
    lines = text(_OWN_CGROUP).splitlines()
    return _CGROUPS / next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), "")
