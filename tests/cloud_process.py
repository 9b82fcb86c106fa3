"""A server in a process that tests may stop, kill and start again at the same address."""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
from pathlib import Path

READY_S = 60


class CloudProcess:
    """The process of a server of a split folder. Use it in a `with`, which kills the process at the end.

    Args:
        folder: The split folder.
        address: Port 0 takes a free one, and keeps it over restarts.
        tap: Folder of the tap; no tap if left out.
        options: Further options of `cutlayer cloud`.
        within: Words before the command, such as those that enter a network namespace.

    Attributes:
        metrics: URL of the metrics, if an option asks for them.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        tap: Path | None = None,
        options: tuple[str, ...] = (),
        within: tuple[str, ...] = (),
    ) -> None:
        self.address = address
        self._options = ["--threads", "1", *options, *([] if tap is None else ["--tap", str(tap)])]
        self._command = [*within, sys.executable, "-m", "cutlayer.cli", "cloud", str(folder)]

    def __enter__(self) -> CloudProcess:
        self._log = tempfile.TemporaryFile()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._log.close()

    @property
    def pid(self) -> int:
        """Number of the running process."""
        return self._process.pid

    @property
    def errors(self) -> str:
        """The text that it has written to standard error so far."""
        self._log.seek(0)
        return self._log.read().decode()

    def start(self) -> None:
        """Start the process, and return once it answers."""
        self._process = subprocess.Popen(
            [*self._command, "--listen", self.address, *self._options], stdout=subprocess.PIPE, stderr=self._log
        )
        assert self._process.stdout is not None
        ready = select.select([self._process.stdout], [], [], READY_S)[0]
        line = self._process.stdout.readline().decode() if ready else ""
        if not line.startswith("ready "):
            self.kill()
            raise AssertionError(f"the cloud did not start: {self.errors}")
        self.address = line.split()[1]
        self.metrics = line.partition(" metrics=")[2].strip()

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._process.kill()
        self._process.communicate(timeout=READY_S)

    def stop(self) -> int:
        """End the process with SIGTERM; return its exit code."""
        self._process.terminate()
        self._process.communicate(timeout=READY_S)
        return self._process.returncode
