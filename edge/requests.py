"""The measurements of one run of the device, and the file that keeps them.

The file (.npz) holds the columns of `cutlayer.trace.Trace`, a row for each request that counts, and these arrays:

    id, part, image, release   id in the tap; 0 for test and 1 for private; index of the image; repetition of the image
    labels, logits             true class and answer
    first_request_ns           from connecting to the first answer, the handshake included
    warmup_end_to_end          ns, the requests between the first and those that count
    kernel_bytes               bytes of each request, as the kernel counts them; -1 if it does not
    peak_rss_bytes             memory of the device's process since connecting, the data set included
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.edge.offline.policy import OfflineCounts
from cutlayer.machine.footprint import peak_rss_bytes
from cutlayer.percentiles import percentile
from cutlayer.trace import STAGES, Columns, Trace, columns

UNKNOWN = -1


class Sent(NamedTuple):
    """The image of a request: its part (0 test, 1 private), its index there, and its repetition from 0."""

    part: int
    image: int
    release: int


class Answered(NamedTuple):
    """One answered request: its image, its id in the tap, the true class, the logits ``(1, classes)`` and the times."""

    sent: Sent
    id: str
    label: int
    logits: NDArray[Any]
    trace: Trace


@dataclass(frozen=True)
class Summary:
    """The result of one run, over the test images; `str` gives a table.

    Attributes:
        timed: Trace columns.
        n_correct: Number of correct answers.
        first_request_ns: Time from connecting to the first answer, the handshake included.
        kernel_bytes: Bytes that left for each request, or `UNKNOWN`.
        peak_rss_bytes: Peak memory of this process.
        offline: Counts of the requests that the server did not answer at once; None without an offline policy.
        note: Images that cannot be read and were left out; empty if there are none.
    """

    timed: Columns
    n_correct: int
    first_request_ns: int
    kernel_bytes: int
    peak_rss_bytes: int
    offline: OfflineCounts | None = None
    note: str = ""

    @property
    def n(self) -> int:
        """Number of test images that the server answered at once."""
        return len(self.timed["end_to_end_ns"])

    def __str__(self) -> str:
        if self.offline is not None and not self.n:
            return str(self.offline)
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
        if self.offline is not None:
            rows.append(str(self.offline))
        if self.note:
            rows.append(self.note)
        return "\n".join(rows)


class Recorder:
    """Collects the measurements, so that they can be saved even if the run fails."""

    def __init__(self) -> None:
        self.first_request_ns = 0
        self.warmup: list[Trace] = []
        self.answered: list[Answered] = []
        self._kernel_bytes = UNKNOWN

    def count_sent(self, before: int | None, after: int | None) -> None:
        """Take the kernel's byte counter from before the first and after the last request that counts."""
        if before is not None and after is not None and self.answered:
            self._kernel_bytes = (after - before) // len(self.answered)

    def save(self, path: Path) -> None:
        """Write the file, with an atomic rename."""
        path.parent.mkdir(parents=True, exist_ok=True)
        answered = self.answered
        part, image, release = np.array([row.sent for row in answered], np.int64).reshape(-1, 3).T
        temporary = path.with_name(path.name + ".part.npz")
        np.savez_compressed(
            temporary,
            allow_pickle=False,
            **columns([row.trace for row in answered]),
            id=np.array([row.id for row in answered], np.str_),
            part=part,
            image=image,
            release=release,
            labels=np.array([row.label for row in answered], np.int64),
            logits=np.array([row.logits[0] for row in answered], np.float32),
            first_request_ns=np.array(self.first_request_ns),
            warmup_end_to_end=columns(self.warmup)["end_to_end_ns"],
            kernel_bytes=np.array(self._kernel_bytes),
            peak_rss_bytes=np.array(peak_rss_bytes()),
        )
        temporary.replace(path)

    def summary(self, offline: OfflineCounts | None = None, note: str = "") -> Summary:
        """Summarize the test images that the server answered at once."""
        test = [row for row in self.answered if row.sent.part == 0]
        return Summary(
            columns([row.trace for row in test]),
            sum(int(row.logits.argmax()) == row.label for row in test),
            self.first_request_ns,
            self._kernel_bytes,
            peak_rss_bytes(),
            offline,
            note,
        )


def _ms(ns: int | None) -> str:
    return "-" if ns is None else f"{ns / 1e6:.3f}"
