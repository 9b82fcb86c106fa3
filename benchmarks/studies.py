"""Studies of the folder experiments, each as a process with one thread; what is finished is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PLANS = Path(__file__).parents[1] / "experiments"


def plan(command: str, name: str) -> Path:
    """The file of the plan of a study by its command and its name: gradients-mnist.toml."""
    return PLANS / f"{command}-{name}.toml"


def run(
    command: str, names: Sequence[str], *, jobs: int, out: Path, data_root: Path | None, settings: Sequence[str] = ()
) -> int:
    """Run studies, some at a time, and print how each has ended.

    Args:
        command: ``gradients`` or ``class-level``.
        names: Names of the studies, the longest first.
        jobs: Studies at a time.
        out: Folder of the records and of the logs.
        data_root: Folder of the data sets.
        settings: Changes of the plans: ``seed=0``.

    Returns:
        The greatest exit code.
    """
    out.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> int:
        line = [sys.executable, "-m", "cutlayer.cli", command, str(plan(command, name)), "--out", str(out)]
        line += [*(part for setting in settings for part in ("--set", setting))]
        line += ["--data-root", str(data_root)] if data_root else []
        env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with (out / f"{name}.log").open("a") as log:
            code = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, env=env, check=False).returncode
        print(f"{name}: {'finished' if not code else f'ended with code {code}'}; see {out / name}.log", flush=True)
        return code

    with ThreadPoolExecutor(jobs) as pool:
        return max(pool.map(one, names), default=0)
