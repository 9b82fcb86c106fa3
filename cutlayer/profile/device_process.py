"""A fresh process of the device for one cut, which runs measurements on request."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cutlayer import errors
from cutlayer.errors import CutlayerError, Unreachable
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.plan import Settings
from cutlayer.records.profile import ColdStart


@dataclass(frozen=True)
class DeviceProcess:
    """A process of `cutlayer.deployment.device` that has opened a cut.

    Attributes:
        cut: Name of the cut.
        requests: Standard input of the process: one JSON object a line.
        answers: Standard output of the process: one JSON object a line.
        log: Standard error of the process, as a file.
    """

    cut: str
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
            reason = self.log.read().strip().splitlines()[-1:] or ["it printed nothing."]
            raise Unreachable(f"The device's process of {self.cut} ended by itself: {reason[0]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = getattr(errors, answer["kind"])
            raise (CutlayerError if kind is errors.Refused else kind)(answer["error"])
        return answer


@contextlib.contextmanager
def open_device(candidate: Candidate, images: Path, settings: Settings) -> Iterator[tuple[DeviceProcess, ColdStart]]:
    """Start a fresh process of the device for a cut, and end it afterwards.

    Args:
        candidate: The cut.
        images: ``(N, C, H, W)`` float32 in [0, 1], as .npy.
        settings: Runtime, threads, cores and quota.

    Raises:
        CutlayerError: The process could not open the cut.
    """
    command = [sys.executable, "-m", "cutlayer.deployment.device", candidate.folder, images]
    command += ["--head", settings.head, "--threads", settings.threads]
    command += ["--cores", *settings.cores] if settings.cores else []
    command += [] if settings.quota is None else ["--quota", settings.quota]
    with tempfile.TemporaryFile("w+") as log:
        start_ns = time.monotonic_ns()
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        device_process = DeviceProcess(candidate.cut, process.stdin, process.stdout, log)
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
