"""The control group that shares out this process's CPU time, of either version of Linux's cgroups."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple


class CpuGroup(NamedTuple):
    """Where the kernel keeps it.

    Attributes:
        mount: The root of its hierarchy.
        path: Of the group that this process is in, at or below the root.
        unified: Whether it is of version 2.
    """

    mount: Path
    path: Path
    unified: bool


class Quota(NamedTuple):
    """The tightest limit on this process's CPU time, and what it did so far.

    Attributes:
        cpus: Time per time: 0.25 is a quarter of one core.
        source: The file that says so.
        periods: In which the group wanted to run at all.
        throttled_periods: In which it used its quota up, and stood still for the rest.
        throttled_ns: That it stood still.
    """

    cpus: float
    source: str
    periods: int
    throttled_periods: int
    throttled_ns: int


def cpu_group(root: Path = Path("/")) -> CpuGroup | None:
    """This process's group; None where the system has no cgroups with a CPU controller.

    Args:
        root: Of the file system, for tests.
    """
    try:
        mounts = (root / "proc/self/mounts").read_text().splitlines()
        memberships = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return None
    for _, where, kind, options, *_ in map(str.split, mounts):
        mount = root / where.lstrip("/")
        if kind == "cgroup2" and "cpu" in _words(mount / "cgroup.controllers"):
            unified, controller = True, ""
        elif kind == "cgroup" and "cpu" in options.split(","):
            unified, controller = False, "cpu"
        else:
            continue
        own = next((path for _, names, path in memberships if controller in names.split(",")), "/")
        path = mount / own.lstrip("/")
        # In a container the path may be the host's, which is not mounted here.
        return CpuGroup(mount, path if path.is_dir() else mount, unified)
    return None


def quota_in_force(root: Path = Path("/")) -> Quota | None:
    """The tightest quota over this process, whoever set it: us, a container, systemd; None where there is none.

    Args:
        root: Of the file system, for tests.
    """
    group = cpu_group(root)
    if group is None:
        return None
    found = []
    for path in (group.path, *group.path.parents):
        if path.is_relative_to(group.mount) and (cpus := _limit(path, group.unified)) is not None:
            found.append((cpus, path))
    if not found:
        return None
    cpus, path = min(found)
    words = _words(path / "cpu.stat")
    stat = {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdecimal()}
    stood_still_ns = stat.get("throttled_usec", 0) * 1000 if group.unified else stat.get("throttled_time", 0)
    source = path / ("cpu.max" if group.unified else "cpu.cfs_quota_us")
    return Quota(cpus, str(source), stat.get("nr_periods", 0), stat.get("nr_throttled", 0), stood_still_ns)


def _limit(path: Path, unified: bool) -> float | None:
    names = ("cpu.max",) if unified else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    with contextlib.suppress(ValueError):
        quota, period = map(int, [word for name in names for word in _words(path / name)])
        return quota / period if quota > 0 and period > 0 else None
    return None


def _words(path: Path) -> list[str]:
    """What a small file holds; nothing where it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text().split()
    return []
