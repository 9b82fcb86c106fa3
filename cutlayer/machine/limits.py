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
"""A twentieth of the kernel's default. At a quarter of a core, 4 ms of work took 12 to 28 ms with it, and 16 ms in
half of the runs, as on a slower clock; with the default it took 4 to 73 ms, and 7 ms in half of the runs."""

_SET_OUTSIDE = "set it from outside with `systemd-run --scope -p CPUQuota=25% cutlayer ...` or `docker run --cpus 0.25`"


def cores() -> tuple[int, ...] | None:
    """Numbers of the cores that this process may run on; None where the system does not say."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None


def check_pin(numbers: Sequence[int]) -> None:
    """Refuse cores that `pin` cannot use.

    Raises:
        ConfigError: A core does not exist or is not allowed, or the system cannot pin processes.
    """
    allowed = cores()
    if allowed is None:
        raise ConfigError("This system cannot pin a process to cores; leave the cores out.")
    if not numbers or not set(numbers) <= set(allowed):
        raise ConfigError(
            f"This process cannot run on the cores {', '.join(map(str, numbers)) or '(none)'}; "
            f"this process may run on {', '.join(map(str, allowed))}."
        )


def pin(numbers: Sequence[int]) -> None:
    """Pin this process to these cores. Call it before a model is opened: running threads stay where they are.

    Raises:
        ConfigError: See `check_pin`.
    """
    check_pin(numbers)
    os.sched_setaffinity(0, numbers)


@contextlib.contextmanager
def quota(cpus: float, root: Path = Path("/")) -> Iterator[None]:
    """Limit the CPU time of this process, its threads and the processes that it starts.

    Args:
        cpus: CPU time per elapsed time: 0.25 is a quarter of one core.
        root: Root of the file system, for tests.

    Raises:
        ConfigError: The number is out of range, or the system or the user's rights do not allow a quota.
    """
    n_cores = os.cpu_count() or 1
    if not 0 < cpus < n_cores:
        raise ConfigError(f"The CPU quota must be above 0 and below {n_cores}, the cores here; {cpus:g} was given.")
    group = cpu_group(root)
    if group is None:
        raise ConfigError(f"This system has no cgroups with a CPU controller; {_SET_OUTSIDE}, or leave the quota out.")
    _remove_abandoned(group)
    own = group.mount / f"cutlayer-{os.getpid()}"
    try:
        _create(own, group, cpus)
    except OSError as error:
        with contextlib.suppress(OSError):
            own.rmdir()
        raise ConfigError(f"This process may not set a CPU quota ({error}); {_SET_OUTSIDE}.") from None
    try:
        yield
    finally:
        _move(group.path)
        # A process that was started meanwhile may still be in the group; the next quota removes it.
        with contextlib.suppress(OSError):
            own.rmdir()


def _create(own: Path, group: CpuGroup, cpus: float) -> None:
    if group.unified and "cpu" not in (group.mount / "cgroup.subtree_control").read_text().split():
        (group.mount / "cgroup.subtree_control").write_text("+cpu")
    own.mkdir()
    # The kernel accepts no quota below a millisecond.
    period_us = max(PERIOD_US, round(1000 / cpus))
    quota_us = round(cpus * period_us)
    if group.unified:
        (own / "cpu.max").write_text(f"{quota_us} {period_us}")
    else:
        (own / "cpu.cfs_period_us").write_text(str(period_us))
        (own / "cpu.cfs_quota_us").write_text(str(quota_us))
    _move(own)


def _move(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _remove_abandoned(group: CpuGroup) -> None:
    """Remove the groups that killed processes have left behind."""
    for left in group.mount.glob("cutlayer-*"):
        if not Path(f"/proc/{left.name.removeprefix('cutlayer-')}").exists():
            with contextlib.suppress(OSError):
                left.rmdir()
