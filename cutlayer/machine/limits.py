"""A device that is slower than this machine: fewer cores, and a share of their time.

A share is not a slower clock. The kernel lets the process run at full speed until its quota for the period is used
up, then stops it until the next: what takes less than a quota is not slowed at all, and what takes more goes in
steps. The period is therefore short, and `cutlayer.machine.throttling` counts how often the process was stopped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cutlayer.errors import ConfigError
from cutlayer.machine.cgroup import CpuGroup, cpu_group

PERIOD_US = 5_000
"""A twentieth of the kernel's default. At a quarter of a core, 4 ms of work then took 12 to 28 ms, and half of the time
16 ms, as on a slower clock; with the default it took 4 to 73 ms, and half of the time 7 ms."""

_BY_OTHERS = "let others set it, as by `systemd-run --scope -p CPUQuota=25% cutlayer ...` or `docker run --cpus 0.25`"


def cores() -> tuple[int, ...] | None:
    """Numbers of the cores that this process may run on; None where the system does not say."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None


def check_pin(numbers: Sequence[int]) -> None:
    """Refuse what `pin` cannot do.

    Raises:
        ConfigError: There is no such core, or the system pins no process.
    """
    here = cores()
    if here is None:
        raise ConfigError("This system pins no process to cores; leave the cores out.")
    if not numbers or not set(numbers) <= set(here):
        raise ConfigError(
            f"The cores {', '.join(map(str, numbers)) or '(none)'} are not all there; "
            f"this process may run on {', '.join(map(str, here))}."
        )


def pin(numbers: Sequence[int]) -> None:
    """Keep this process to these cores. Call it before a model is opened: threads that run already stay where they are.

    Raises:
        ConfigError: See `check_pin`.
    """
    check_pin(numbers)
    os.sched_setaffinity(0, numbers)


@contextlib.contextmanager
def quota(cpus: float, root: Path = Path("/")) -> Iterator[None]:
    """Give this process, its threads and the processes that it starts so much CPU time per time.

    Args:
        cpus: 0.25 is a quarter of one core.
        root: Of the file system, for tests.

    Raises:
        ConfigError: The quota is none, or the system or our rights do not allow one.
    """
    there = os.cpu_count() or 1
    if not 0 < cpus < there:
        raise ConfigError(f"A CPU quota of {cpus:g} is none on {there} cores; write one above 0 and below {there}.")
    group = cpu_group(root)
    if group is None:
        raise ConfigError(f"This system has no cgroups that share out CPU time; {_BY_OTHERS}, or leave the quota out.")
    _forget_the_dead(group)
    made = group.mount / f"cutlayer-{os.getpid()}"
    try:
        _make(made, group, cpus)
    except OSError as error:
        with contextlib.suppress(OSError):
            made.rmdir()
        raise ConfigError(f"This system lets us set no CPU quota ({error}); {_BY_OTHERS}.") from None
    try:
        yield
    finally:
        _move(group.path)
        # A process that was started meanwhile may still be in it; the next quota takes it away.
        with contextlib.suppress(OSError):
            made.rmdir()


def _make(made: Path, group: CpuGroup, cpus: float) -> None:
    if group.unified and "cpu" not in (group.mount / "cgroup.subtree_control").read_text().split():
        (group.mount / "cgroup.subtree_control").write_text("+cpu")
    made.mkdir()
    # The kernel takes no quota below a millisecond.
    period_us = max(PERIOD_US, round(1000 / cpus))
    quota_us = round(cpus * period_us)
    if group.unified:
        (made / "cpu.max").write_text(f"{quota_us} {period_us}")
    else:
        (made / "cpu.cfs_period_us").write_text(str(period_us))
        (made / "cpu.cfs_quota_us").write_text(str(quota_us))
    _move(made)


def _move(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _forget_the_dead(group: CpuGroup) -> None:
    """Remove what processes that were killed have left."""
    for left in group.mount.glob("cutlayer-*"):
        if not Path(f"/proc/{left.name.removeprefix('cutlayer-')}").exists():
            with contextlib.suppress(OSError):
                left.rmdir()
