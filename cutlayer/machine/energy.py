"""The energy that the processor used, from its own meter where the system lets a process read it."""

from __future__ import annotations

import contextlib
from pathlib import Path

RAPL = Path("/sys/class/powercap")
"""The folder of the meters; on most systems only root can read them since 2020."""


def joules(root: Path = RAPL) -> float | None:
    """Energy used by all processor packages since an unknown moment; None where no meter can be read.

    It includes everything that runs on them. The meter wraps around to 0: a smaller later reading says nothing.
    """
    with contextlib.suppress(OSError, ValueError):
        packages = [path for path in root.glob("intel-rapl:*") if path.name.count(":") == 1]
        if packages:
            return sum(int((path / "energy_uj").read_text()) for path in packages) / 1e6
    return None
