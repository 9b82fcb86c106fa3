"""A fresh device process for a cut, and how to ask it for a measurement."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from cutlayer import errors
from cutlayer.errors import CutlayerError, Unreachable
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.plan import Settings


class Ask(Protocol):
    """Has the device's process do one thing."""

    def __call__(self, do: str, **task: Any) -> dict[str, Any]:
        """Its answer.

        Raises:
            CutlayerError: It could not; the message is its own.
        """


@contextlib.contextmanager
def device(candidate: Candidate, images: Path, settings: Settings) -> Iterator[tuple[Ask, dict[str, int]]]:
    """A fresh device process of a cut: how to ask it, and how long it took to open.

    Args:
        candidate: The cut.
        images: ``(N, C, H, W)`` float32 in [0, 1], as .npy.
        settings: Runtime and threads.

    Raises:
        CutlayerError: The process could not open the cut.
    """
    command = [sys.executable, "-m", "cutlayer.deployment.device", candidate.folder, images]
    command += ["--head", settings.head, "--threads", settings.threads]
    command += ["--cores", *settings.cores] if settings.cores else []
    command += [] if settings.quota is None else ["--quota", settings.quota]
    with tempfile.TemporaryFile("w+") as words:
        start = time.monotonic_ns()
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        given, answers = process.stdin, process.stdout

        def answer() -> dict[str, Any]:
            line = answers.readline()
            if not line:
                words.seek(0)
                last = words.read().strip().splitlines()[-1:] or ["it said nothing."]
                raise Unreachable(f"The device's process of {candidate.cut} ended by itself: {last[0]}")
            told: dict[str, Any] = json.loads(line)
            if "error" in told:
                kind = getattr(errors, told["kind"])
                raise (CutlayerError if kind is errors.Refused else kind)(told["error"])
            return told

        def ask(do: str, **task: Any) -> dict[str, Any]:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps({"do": do, **task}), file=given, flush=True)
            return answer()

        try:
            opened = answer()
            started = time.monotonic_ns() - start - opened["open_ns"] - opened["first_ns"]
            yield ask, {"start_ns": started, **opened}
        finally:
            with contextlib.suppress(BrokenPipeError):
                given.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            answers.close()
