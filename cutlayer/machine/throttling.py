"""What slowed this machine down while it was measured, as far as the system tells: quota, heat, voltage, clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cutlayer.machine.cgroup import Quota, quota_in_force, text

_FIRMWARE = {0: "under-voltage", 1: "a capped clock", 2: "throttling", 3: "the soft temperature limit"}
"""Bits of the Raspberry Pi's get_throttled that are true now; 16 bits higher: true at some time since the start."""


@dataclass(frozen=True)
class Reading:
    """A figure and its source."""

    value: float
    source: str


@dataclass(frozen=True)
class Condition:
    """The machine at one moment. What the system does not tell is None.

    Attributes:
        quota: The quota on CPU time; its counts are totals up to this moment.
        thermal_throttles: Number of times that cores throttled for heat up to now, as x86 counts them.
        cooling: Number of CPUs whose clock is lowered for heat now, as `cooling_device` tells on most ARM boards.
        firmware: Bits of the Raspberry Pi's get_throttled.
        temperature_c: Temperature of the hottest sensor.
        clock_hz: Clock of the slowest core.
    """

    quota: Quota | None = None
    thermal_throttles: Reading | None = None
    cooling: Reading | None = None
    firmware: Reading | None = None
    temperature_c: Reading | None = None
    clock_hz: Reading | None = None


def condition(root: Path = Path("/")) -> Condition:
    """Read the condition of the machine now; tests give another root of the file system."""
    cpu = root / "sys/devices/system/cpu"
    coolers = [
        path.parent / "cur_state"
        for path in (root / "sys/class/thermal").glob("cooling_device*/type")
        if any(name in text(path).lower() for name in ("cpufreq", "processor"))
    ]
    firmware = next((root / "sys/devices/platform").glob("soc*/soc*:firmware/get_throttled"), None)
    clocks = _values(cpu.glob("cpu*/cpufreq/scaling_cur_freq"))
    throttles = _values(cpu.glob("cpu*/thermal_throttle/core_throttle_count"))
    states = _values(coolers)
    return Condition(
        quota_in_force(root),
        Reading(sum(throttles), "thermal_throttle/core_throttle_count") if throttles else None,
        Reading(sum(state > 0 for state in states), "thermal/cooling_device") if states else None,
        Reading(bits, "get_throttled") if firmware and (bits := _number(firmware, 16)) is not None else None,
        _temperature(),
        Reading(min(clocks) * 1e3, "cpufreq/scaling_cur_freq") if clocks else None,
    )


def own_clock_hz(root: Path = Path("/")) -> float | None:
    """Clock of the core that this process runs on now; None where the system does not tell."""
    if not hasattr(psutil.Process, "cpu_num"):
        return None
    path = root / f"sys/devices/system/cpu/cpu{psutil.Process().cpu_num()}/cpufreq/scaling_cur_freq"
    clock_khz = _number(path)
    return None if clock_khz is None else clock_khz * 1e3


def held_back(before: Condition, after: Condition) -> list[str]:
    """Reasons to doubt times measured between two moments, in words; a quota is none, because the user sets it."""
    reasons = []
    if before.thermal_throttles and after.thermal_throttles:
        times = after.thermal_throttles.value - before.thermal_throttles.value
        if times > 0:
            reasons.append(f"the CPU throttled itself for heat {times:.0f} times ({after.thermal_throttles.source})")
    if after.cooling and after.cooling.value > (before.cooling.value if before.cooling else 0):
        reasons.append(f"the clock was held down for heat ({after.cooling.source})")
    if after.firmware:
        was, bits = int(before.firmware.value) if before.firmware else 0, int(after.firmware.value)
        # A bit of "since the start" counts only if it was not set before: it may be from long ago.
        seen = [word for bit, word in _FIRMWARE.items() if bits >> bit & 1 or (bits & ~was) >> (bit + 16) & 1]
        if seen:
            reasons.append(f"the firmware reports {' and '.join(seen)} ({after.firmware.source})")
    return reasons


def stopped(before: Condition, after: Condition) -> Quota | None:
    """The quota with its counts between two moments; None where there is no quota."""
    if before.quota is None or after.quota is None or before.quota.source != after.quota.source:
        return after.quota
    counts = (now - then for now, then in zip(after.quota[2:], before.quota[2:], strict=True))
    return Quota(after.quota.cpus, after.quota.source, *counts)


def _temperature() -> Reading | None:
    """The hottest sensor; psutil has it on Linux and FreeBSD only, and virtual machines have no sensors."""
    if not hasattr(psutil, "sensors_temperatures"):
        return None
    chips = psutil.sensors_temperatures().items()
    values = [(entry.current, f"{chip} {entry.label}".strip()) for chip, entries in chips for entry in entries]
    return Reading(*max(values)) if values else None


def _values(paths: Iterable[Path]) -> list[int]:
    return [value for path in paths if (value := _number(path)) is not None]


def _number(path: Path, base: int = 10) -> int | None:
    with contextlib.suppress(ValueError):
        return int(text(path), base)
    return None
