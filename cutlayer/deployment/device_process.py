"""A fresh process of the device for one split folder, which runs measurements on request."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cutlayer import errors
from cutlayer.deployment.processes import end, last_line, stop, tied
from cutlayer.errors import CutlayerError, Unreachable
from cutlayer.records.profile import ColdStart
from cutlayer.split_folder import Runtime

Run = Callable[..., dict[str, Any]]
"""Runs one of `cutlayer.deployment.tasks.TASKS`, by its name, with its arguments in the device's process, and returns
its result. It raises the CutlayerError of a task that fails."""


@contextlib.contextmanager
def open_device(
    folder: Path, images: Path, *, head: Runtime, threads: int, cores: Sequence[int], quota: float | None
) -> Iterator[tuple[Run, ColdStart]]:
    """Start a fresh process of `cutlayer.deployment.device` for a split folder, and end it afterwards.

    The images are ``(N, *input.shape)`` float32 in [0, 1], as .npy. The process runs on the cores of these numbers, or
    on all where there are none. The quota is its CPU time per time, 0.25 being a quarter of one core; None is no limit.

    Raises:
        CutlayerError: The process could not open the folder.
    """
    options = {"head": head, "threads": threads, "cores": cores, "quota": quota}
    command = tied("cutlayer.deployment.device", folder, images, json.dumps(options))
    with tempfile.TemporaryFile("w+") as log:
        start_ns = time.monotonic_ns()
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def answer() -> dict[str, Any]:
            line = answers.readline()
            if not line:
                raise Unreachable(f"The device's process of {folder} ended by itself: {last_line(log)}")
            values: dict[str, Any] = json.loads(line)
            if "error" in values:
                kind = getattr(errors, values["kind"])
                raise (CutlayerError if kind is errors.Refused else kind)(values["error"])
            return values

        def run(task: str, **arguments: Any) -> dict[str, Any]:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps({"do": task, **arguments}), file=requests, flush=True)
            return answer()

        try:
            opened = answer()
            passed_ns = time.monotonic_ns() - start_ns
            yield run, ColdStart(passed_ns - opened["open_ns"] - opened["first_ns"], **opened)
        except BaseException:
            stop(process)
            raise
        end(process, 10.0)
