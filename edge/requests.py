"""The measurements of one run of the device, and the file that keeps them.

The file (.npz) holds the columns of `cutlayer.trace.Trace`, a row for each request that counts and was answered at
once (of a run without end: for `MOST_ROWS` of them, drawn evenly, and without logits), and these arrays:

    id, part, image, release   id in the tap; 0 for test and 1 for private; index of the image; repetition of the image
    labels, logits             true class (-1 if unknown) and answer
    said                       of sentences that somebody said: the ids of their tokens, (N, T)
    response_ns                from the time at which a request was due to its answer; end_to_end_ns if it had no time
    first_request_ns           from connecting to the first answer, the handshake included
    warmup_end_to_end          ns, the requests between the first and those that count
    kernel_bytes               bytes of each request, as the kernel counts them; -1 if it does not
    peak_rss_bytes             memory of the device's process since connecting, the data set included
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import NO_CLASS
from cutlayer.edge.frames import Sent
from cutlayer.edge.offline.policy import OfflineCounts
from cutlayer.machine.footprint import peak_rss_bytes
from cutlayer.percentiles import percentile
from cutlayer.records.files import write_arrays
from cutlayer.tensors import chosen
from cutlayer.trace import STAGES, Columns, Trace, columns

UNKNOWN = -1

MOST_ROWS = 10_000
"""Requests of a run without end whose times are kept: a p99.9 needs 4,603."""


class Answered(NamedTuple):
    """One request that was answered at once.

    Attributes:
        sent: Its image.
        id: Its id in the tap.
        label: The true class, or `NO_CLASS`.
        logits: ``(1, classes)``.
        trace: Its times.
        response_ns: Time from when it was due to its answer; the end-to-end time if it was due when it began.
        said: Ids of the tokens that somebody said, ``(T,)``; None of a data set, whose inputs are known by `sent`.
    """

    sent: Sent
    id: str
    label: int
    logits: NDArray[Any]
    trace: Trace
    response_ns: int
    said: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Summary:
    """The result of one run, over the test images; `str` gives a table.

    Attributes:
        timed: Trace columns, and ``response_ns``.
        n: Number of test images that the server answered at once; `timed` has `MOST_ROWS` of them at most in a run
            without end.
        n_labelled: Number of these whose class is known.
        n_correct: Number of correct answers.
        first_request_ns: Time from connecting to the first answer, the handshake included.
        kernel_bytes: Bytes that left for each request, or `UNKNOWN`.
        peak_rss_bytes: Peak memory of this process.
        due: What decides when a request is due, such as ``10 per second``; empty if each begins after the one before.
        behind_ns: Longest time by which a request began after it was due.
        skipped: Frames that were there and were never asked for.
        offline: Counts of the requests that the server did not answer at once; None without an offline policy.
        note: Images that cannot be read and were left out; empty if there are none.
    """

    timed: Columns
    n: int
    n_labelled: int
    n_correct: int
    first_request_ns: int
    kernel_bytes: int
    peak_rss_bytes: int
    due: str = ""
    behind_ns: int = 0
    skipped: int = 0
    offline: OfflineCounts | None = None
    note: str = ""

    def __str__(self) -> str:
        rows = self._table() if self.n or self.offline is None else []
        if self.due:
            rows.append(f"due {self.due}; the latest request began {_ms(self.behind_ns)} ms after it was due")
        if self.skipped:
            rows.append(f"skipped: {self.skipped:,} frames came while none was asked for")
        if self.offline is not None:
            rows.append(str(self.offline))
        if self.note:
            rows.append(self.note)
        return "\n".join(rows)

    def _table(self) -> list[str]:
        kept = len(self.timed["end_to_end_ns"])
        of = f" drawn evenly from {self.n:,}" if kept < self.n else ""
        rows = [f"{'stage':<14}{'p50 ms':>10}{'p95 ms':>10}   (n = {kept:,}{of})"]
        rows += [f"{stage:<14}{self._times(stage)}" for stage in (*STAGES, "end_to_end")]
        if self.due:
            rows[-1] += "   service time, from when the request began"
            rows.append(f"{'response':<14}{self._times('response')}   response time, from when it was due")
        rows.append(f"{'first request':<14}{_ms(self.first_request_ns or None):>10}")
        if self.n:
            tensor, message = (int(np.median(self.timed[name])) for name in ("tensor_bytes", "message_bytes"))
            kernel = "unknown" if self.kernel_bytes == UNKNOWN else f"{self.kernel_bytes:,}"
            rows.append(f"bytes up: median tensor {tensor:,}, median message {message:,}, mean by the kernel {kernel}")
        if self.n_labelled:
            share = self.n_correct / self.n_labelled
            rows.append(f"accuracy: {share:.1%} ({self.n_correct} of {self.n_labelled})")
        rows.append(f"peak memory: {self.peak_rss_bytes / 1e6:.0f} MB")
        return rows

    def _times(self, name: str) -> str:
        samples = self.timed[f"{name}_ns"]
        return "".join(f"{_ms(percentile(samples, q)):>10}" for q in (50, 95))


class Recorder:
    """Collects the measurements, so that they can be saved even if the run fails.

    Args:
        due: See `Summary`.
        endless: Whether the run has no end: at most `MOST_ROWS` requests are kept, each with the same chance, and none
            of their answers.

    Attributes:
        due: See `Summary`.
        first_request_ns: See `Summary`.
        warmup: Traces of the requests between the first and those that count.
        answered: Requests that were answered at once.
        n_answered: Number of all of them.
        behind_ns: See `Summary`.
    """

    def __init__(self, due: str = "", *, endless: bool = False) -> None:
        self.first_request_ns = 0
        self.warmup: list[Trace] = []
        self.answered: list[Answered] = []
        self.behind_ns = 0
        self.due, self._endless = due, endless
        self.n_answered = self._n = self._n_labelled = self._n_correct = 0
        self._n_late = self._n_late_correct = 0
        self._kernel_bytes = UNKNOWN

    def add(self, row: Answered) -> None:
        """Take a request that was answered at once."""
        self.n_answered += 1
        if row.sent.part == 0:
            self._n += 1
            self._n_labelled += row.label != NO_CLASS
            self._n_correct += int(chosen(row.logits)[0]) == row.label
        if not self._endless:
            self.answered.append(row)
            return
        row = row._replace(logits=np.empty((1, 0), np.float32))
        if len(self.answered) < MOST_ROWS:
            self.answered.append(row)
        elif (place := random.randrange(self.n_answered)) < MOST_ROWS:
            self.answered[place] = row

    def add_late(self, logits: NDArray[Any], label: int | None) -> None:
        """Take an answer that came later, or from the device; None stands for the label of a private image."""
        if label is not None and label != NO_CLASS:
            self._n_late += 1
            self._n_late_correct += int(chosen(logits)[0]) == label

    def count_sent(self, before: int | None, after: int | None) -> None:
        """Take the kernel's byte counter from before the first and after the last request that counts."""
        if before is not None and after is not None and self.answered:
            each = (after - before) // self.n_answered
            # The counter is that of the open connections: where one was lost, what it has sent is missing.
            if each >= min(row.trace.message_bytes for row in self.answered):
                self._kernel_bytes = each

    def save(self, path: Path) -> None:
        """Write the file, which appears when it is whole. Raises WriteError."""
        answered = sorted(self.answered, key=lambda row: row.trace.request_index)
        part, image, release = np.array([row.sent for row in answered], np.int64).reshape(-1, 3).T
        arrays = {
            **columns([row.trace for row in answered]),
            "id": np.array([row.id for row in answered], np.str_),
            "part": part,
            "image": image,
            "release": release,
            "labels": np.array([row.label for row in answered], np.int64),
            **_answers([row.logits[0] for row in answered]),
            **({"said": np.stack(said)} if (said := [row.said for row in answered if row.said is not None]) else {}),
            "response_ns": np.array([row.response_ns for row in answered], np.int64),
            "first_request_ns": np.array(self.first_request_ns),
            "warmup_end_to_end": columns(self.warmup)["end_to_end_ns"],
            "kernel_bytes": np.array(self._kernel_bytes),
            "peak_rss_bytes": np.array(peak_rss_bytes()),
        }
        write_arrays(path, arrays)

    def summary(self, offline: OfflineCounts | None = None, skipped: int = 0, note: str = "") -> Summary:
        """Summarize the test images that the server answered at once."""
        test = [row for row in self.answered if row.sent.part == 0]
        response_ns = np.array([row.response_ns for row in test], np.int64)
        return Summary(
            {**columns([row.trace for row in test]), "response_ns": response_ns},
            self._n,
            self._n_labelled,
            self._n_correct,
            self.first_request_ns,
            self._kernel_bytes,
            peak_rss_bytes(),
            self.due,
            self.behind_ns,
            skipped,
            offline and replace(offline, n_late=self._n_late, n_correct=self._n_late_correct),
            note,
        )


def _answers(rows: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The answers as arrays: ``logits``, or ``answer:NAME`` for each name, where all have one shape."""
    names = rows[0].dtype.names if rows else None
    if names is None:
        return {"logits": np.array(rows, np.float32)}
    fields = {f"answer:{name}": [row[name] for row in rows] for name in names}
    return {name: np.stack(arrays) for name, arrays in fields.items() if len({array.shape for array in arrays}) == 1}


def _ms(ns: int | None) -> str:
    return "-" if ns is None else f"{ns / 1e6:.3f}"
