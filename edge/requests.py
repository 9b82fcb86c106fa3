"""What one run of the device measured, and the file that keeps it.

The file (.npz) holds the columns of `cutlayer.trace.Trace`, one row for each request that counts, and beside them

    id, part, image, release   its id in the tap, 0 for test and 1 for private, which image, how-manieth time
    labels, logits             the truth and the answer
    first_request_ns           from connecting to the first answer, the handshake included
    warmup_end_to_end          ns, the requests between the first and those that count
    kernel_bytes               for each request, as the kernel counts what left; -1 where it does not say
    peak_rss_bytes             of the device's process, from connecting on; its data set is part of it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.machine.footprint import peak_rss_bytes
from cutlayer.trace import STAGES, Columns, Trace, columns, percentile
from edge.offline.policy import Absence

UNKNOWN = -1


class Sent(NamedTuple):
    """Which image a request carried: its part (0 test, 1 private), its index there, and for the how-manieth time."""

    part: int
    image: int
    release: int


@dataclass(frozen=True)
class Summary:
    """The result of one run, over the test images; `str` gives a table.

    Attributes:
        timed: Trace columns.
        n_correct: Right answers.
        first_request_ns: From connecting to the first answer, the handshake included.
        kernel_bytes: For each request, or `UNKNOWN`.
        peak_rss_bytes: Of this process.
        absence: What became of the requests that the server did not answer at once; None where the run would end.
    """

    timed: Columns
    n_correct: int
    first_request_ns: int
    kernel_bytes: int
    peak_rss_bytes: int
    absence: Absence | None = None

    @property
    def n(self) -> int:
        """Test images sent."""
        return len(self.timed["end_to_end_ns"])

    def __str__(self) -> str:
        if self.absence is not None and not self.n:
            return str(self.absence)
        rows = [f"{'stage':<14}{'p50 ms':>10}{'p95 ms':>10}   (n = {self.n})"]
        for stage in (*STAGES, "end_to_end"):
            samples = self.timed[f"{stage}_ns"]
            rows.append(f"{stage:<14}" + "".join(f"{_ms(percentile(samples, q)):>10}" for q in (50, 95)))
        rows.append(f"{'first request':<14}{_ms(self.first_request_ns or None):>10}")
        if self.n:
            tensor, message = (int(np.median(self.timed[name])) for name in ("tensor_bytes", "message_bytes"))
            kernel = "unknown" if self.kernel_bytes == UNKNOWN else f"{self.kernel_bytes:,}"
            rows.append(f"bytes up: tensor {tensor:,}, message {message:,}, kernel {kernel}")
            rows.append(f"accuracy: {self.n_correct / self.n:.1%} ({self.n_correct} of {self.n})")
        rows.append(f"peak memory: {self.peak_rss_bytes / 1e6:.0f} MB")
        if self.absence is not None:
            rows.append(str(self.absence))
        return "\n".join(rows)


class Recorder:
    """Collects what is measured, so that it can be kept whatever happens."""

    def __init__(self) -> None:
        self.first_request_ns = 0
        self.warmup: list[Trace] = []
        self._sent: list[Sent] = []
        self._ids: list[str] = []
        self._labels: list[int] = []
        self._logits: list[NDArray[Any]] = []
        self._traces: list[Trace] = []
        self._kernel_bytes = UNKNOWN

    def add(self, sent: Sent, request_id: str, label: int, logits: NDArray[Any], trace: Trace) -> None:
        """One request of one image that was answered."""
        self._sent.append(sent)
        self._ids.append(request_id)
        self._labels.append(label)
        self._logits.append(logits[0])
        self._traces.append(trace)

    def count_sent(self, before: int | None, after: int | None) -> None:
        """The kernel's counter before the first and after the last request that counts."""
        if before is not None and after is not None and self._traces:
            self._kernel_bytes = (after - before) // len(self._traces)

    def save(self, path: Path) -> None:
        """Write the file, by an atomic rename."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part, image, release = np.array(self._sent, np.int64).reshape(-1, 3).T
        save(
            path,
            self._traces,
            id=np.array(self._ids, np.str_),
            part=part,
            image=image,
            release=release,
            labels=np.array(self._labels, np.int64),
            logits=np.array(self._logits, np.float32),
            first_request_ns=np.array(self.first_request_ns),
            warmup_end_to_end=columns(self.warmup)["end_to_end_ns"],
            kernel_bytes=np.array(self._kernel_bytes),
            peak_rss_bytes=np.array(peak_rss_bytes()),
        )

    def summary(self, absence: Absence | None = None) -> Summary:
        """Over the test images that the server answered at once."""
        test = [i for i, sent in enumerate(self._sent) if sent.part == 0]
        return Summary(
            columns([self._traces[i] for i in test]),
            sum(int(self._logits[i].argmax()) == self._labels[i] for i in test),
            self.first_request_ns,
            self._kernel_bytes,
            peak_rss_bytes(),
            absence,
        )


def _ms(ns: int | None) -> str:
    return "-" if ns is None else f"{ns / 1e6:.3f}"


def save(path: Path, traces: Sequence[Trace], **extra: NDArray[np.generic]) -> None:
    """Write the traces as columns, with further arrays beside them, by an atomic rename."""
    temporary = path.with_name(path.name + ".part.npz")
    np.savez_compressed(temporary, allow_pickle=False, **columns(traces), **extra)
    temporary.replace(path)
