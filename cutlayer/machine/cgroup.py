"""The control group that limits this process's CPU time, in either version of Linux's cgroups.

Tests give another root of the file system as `root`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple


class CpuGroup(NamedTuple):
    """The control group of a process, as folders of the file system.

    Attributes:
        mount: The root of the hierarchy.
        path: Folder of the group that this process is in, at or below the root.
        unified: Whether the hierarchy is of version 2.
    """

    mount: Path
    path: Path
    unified: bool


class Quota(NamedTuple):
    """The tightest limit on this process's CPU time, and how often it has stopped the process.

    Attributes:
        cpus: CPU time per elapsed time: 0.25 is a quarter of one core.
        source: The file that sets the limit.
        periods: Number of periods in which the group had something to run.
        throttled_periods: Number of periods in which it used up its quota and was stopped for the rest.
        throttled_ns: Time for which it was stopped.
    """

    cpus: float
    source: str
    periods: int
    throttled_periods: int
    throttled_ns: int


def cpu_group(root: Path = Path("/")) -> CpuGroup | None:
    """This process's group; None where the system has no cgroups with a CPU controller."""
    try:
        mounts = (root / "proc/self/mounts").read_text().splitlines()
        memberships = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return None
    for _, where, kind, options, *_ in map(str.split, mounts):
        mount = root / where.lstrip("/")
        if kind == "cgroup2" and "cpu" in text(mount / "cgroup.controllers").split():
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
    """The tightest quota on this process, whether cutlayer, a container or systemd set it; None where there is none."""
    group = cpu_group(root)
    if group is None:
        return None
    quotas = []
    for path in (group.path, *group.path.parents):
        if path.is_relative_to(group.mount) and (cpus := _limit(path, group.unified)) is not None:
            quotas.append((cpus, path))
    if not quotas:
        return None
    cpus, path = min(quotas)
    words = text(path / "cpu.stat").split()
    stat = {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdecimal()}
    throttled_ns = stat.get("throttled_usec", 0) * 1000 if group.unified else stat.get("throttled_time", 0)
    source = path / ("cpu.max" if group.unified else "cpu.cfs_quota_us")
    return Quota(cpus, str(source), stat.get("nr_periods", 0), stat.get("nr_throttled", 0), throttled_ns)


def _limit(path: Path, unified: bool) -> float | None:
    names = ("cpu.max",) if unified else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    with contextlib.suppress(ValueError):
        quota, period = map(int, [word for name in names for word in text(path / name).split()])
        return quota / period if quota > 0 and period > 0 else None
    return None


def text(path: Path) -> str:
    """The text of a small file of the system; empty where it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return ""
