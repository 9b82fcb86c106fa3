"""Whether anything here reports to anybody but the server: ONNX Runtime would, if it were not told to be silent."""

from __future__ import annotations

import datetime
import os
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from cutlayer.doctor.finding import Finding, fault, note, ok
from cutlayer.doctor.packages import LIMIT_S

OFF = "ORT_DISABLE_TELEMETRY"

_OTHER_REASONS = ("CI", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS")
"""Variables that silence ONNX Runtime too, but on no device."""

_REPORTS = Path("Microsoft/DeveloperTools/.onnxruntime")
"""Where ONNX Runtime keeps the id of a device and what it has not sent yet, in the folder of caches."""


def check_telemetry() -> Iterator[Finding]:
    """Load ONNX Runtime with an empty home folder, in which it would keep an id of this device for its reports.

    Then look into the home folder of this user, where other programs have left such an id if they report.
    """
    try:
        version = metadata.version("onnxruntime")
    except metadata.PackageNotFoundError:
        return
    with tempfile.TemporaryDirectory() as home:
        environment = {name: value for name, value in os.environ.items() if name not in _OTHER_REASONS}
        environment |= {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache", "PYTHONUSERBASE": site.getuserbase()}
        try:
            subprocess.run(
                [sys.executable, "-c", "import onnxruntime"], env=environment, capture_output=True, check=True,
                timeout=LIMIT_S,
            )  # fmt: skip
        except (subprocess.SubprocessError, OSError):
            yield note("telemetry", f"onnxruntime {version} cannot be loaded to be checked", "install it again")
            return
        left = [path.relative_to(home) for path in Path(home).rglob("*") if path.is_file()]
    if left:
        yield fault(
            "telemetry",
            f"onnxruntime {version} writes {left[0]} when it is loaded, in spite of {OFF}=1, and may send reports",
            "install the version that cutlayer's requirements.lock names, and allow this device no other connections",
        )
    else:
        yield ok("telemetry", f"none: onnxruntime {version}, loaded with {OFF}=1, left nothing in an empty home folder")
    yield from _of_other_programs()


def _of_other_programs() -> Iterator[Finding]:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / _REPORTS
    try:
        last = max(file.stat().st_mtime for file in folder.iterdir())
    except (OSError, ValueError):
        return
    yield note(
        "telemetry",
        f"a program of this user has loaded ONNX Runtime with its reports on, last on "
        f"{datetime.datetime.fromtimestamp(last):%Y-%m-%d}: {folder}",
        f"set {OFF}=1 in its environment, or import cutlayer before onnxruntime; then delete the folder",
    )
