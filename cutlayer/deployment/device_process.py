"""A fresh process of the device for one split folder, which runs measurements on request."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cutlayer import errors
from cutlayer.deployment.processes import last_line
from cutlayer.errors import CutlayerError, Unreachable
from cutlayer.records.profile import ColdStart
from cutlayer.split_folder import Runtime


@dataclass(frozen=True)
class DeviceProcess:
    """A process of `cutlayer.deployment.device` that has opened a split folder.

    Attributes:
        folder: The split folder.
        requests: Standard input of the process: one JSON object a line.
        answers: Standard output of the process: one JSON object a line.
        log: Standard error of the process, as a file.
    """

    folder: Path
    requests: IO[str]
    answers: IO[str]
    log: IO[str]

    def run(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Run one of `cutlayer.deployment.tasks.TASKS` in the process, and return its result.

        Raises:
            CutlayerError: The task failed; the message is that of the task.
        """
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"do": task, **arguments}), file=self.requests, flush=True)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer."""
        line = self.answers.readline()
        if not line:
            self.log.seek(0)
            raise Unreachable(f"The device's process of {self.folder} ended by itself: {last_line(self.log.read())}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = getattr(errors, answer["kind"])
            raise (CutlayerError if kind is errors.Refused else kind)(answer["error"])
        return answer


@contextlib.contextmanager
def open_device(
    folder: Path,
    images: Path,
    *,
    head: Runtime = "onnx",
    threads: int = 1,
    cores: Sequence[int] = (),
    quota: float | None = None,
) -> Iterator[tuple[DeviceProcess, ColdStart]]:
    """Start a fresh process of the device for a split folder, and end it afterwards.

    Args:
        folder: The split folder.
        images: ``(N, *input.shape)`` float32 in [0, 1], as .npy.
        head: Runtime of the head.
        threads: Threads of the head.
        cores: Numbers of the cores that the process runs on; all cores when empty.
        quota: CPU time per time of the process, 0.25 being a quarter of one core; no limit when None.

    Raises:
        CutlayerError: The process could not open the folder.
    """
    options = {"head": head, "threads": threads, "cores": cores, "quota": quota}
    command = [sys.executable, "-m", "cutlayer.deployment.device", str(folder), str(images)]
    command.append(json.dumps(options))
    with tempfile.TemporaryFile("w+") as log:
        start_ns = time.monotonic_ns()
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        device_process = DeviceProcess(folder, process.stdin, process.stdout, log)
        try:
            opened = device_process.answer()
            passed_ns = time.monotonic_ns() - start_ns
            yield device_process, ColdStart(passed_ns - opened["open_ns"] - opened["first_ns"], **opened)
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
