"""What the processor package took, by its own meter where the system lets us read it."""

from __future__ import annotations

import contextlib
from pathlib import Path

RAPL = Path("/sys/class/powercap")
"""Readable by root alone since 2020, on most systems."""


def joules(root: Path = RAPL) -> float | None:
    """By all packages since some moment, everything that runs on them included; None where nothing says it.

    The meter starts again from 0 now and then: a later reading that is smaller says nothing.
    """
    with contextlib.suppress(OSError, ValueError):
        packages = [path for path in root.glob("intel-rapl:*") if path.name.count(":") == 1]
        if packages:
            return sum(int((path / "energy_uj").read_text()) for path in packages) / 1e6
    return None
