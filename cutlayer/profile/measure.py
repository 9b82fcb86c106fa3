"""The measurements: each cut in fresh processes, a device and a server, with a real socket between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cutlayer.deployment import processes
from cutlayer.deployment.device_process import Run, open_device
from cutlayer.machine.throttling import Reading
from cutlayer.network.profiles import Network
from cutlayer.network.shaper import shaped
from cutlayer.profile.plan import LEAST, Settings
from cutlayer.profile.prepare import Candidate
from cutlayer.records.dataclass_json import load
from cutlayer.records.profile import ColdStart, QuotaRecord
from cutlayer.trace import Columns

CODEC_SHARE, REQUESTS_SHARE = 1 / 6, 1 / 3
"""Shares of a head's time that each codec alone and the whole requests with it get."""

LEAST_REQUESTS = 30
"""Number of whole requests with each codec, however long they take."""

DEADLINE_S = 60.0
"""Time limit of a request, beyond the time that it is expected to take."""


@dataclass(frozen=True)
class Timing:
    """Runs of the head, or of the whole model, in a device's process; `CutRecord` has most of these figures.

    Attributes:
        ns: Time of each run.
        wall_ns: Time of all runs together.
        waited_ns: Time that the process was ready to run and had no core.
        others: Share of all cores that other processes took.
        joules: Energy of one run; None where no meter can be read.
    """

    ns: tuple[int, ...]
    wall_ns: int
    cpu_ns: int
    waited_ns: int
    others: float
    peak_rss_bytes: int
    joules: float | None
    held_back: tuple[str, ...]
    quota: QuotaRecord | None
    temperature_c: Reading | None
    clock_hz: Reading | None

    @property
    def cpu_share(self) -> float:
        """CPU time of the process for each second that passed."""
        return self.cpu_ns / self.wall_ns


@dataclass(frozen=True)
class CutMeasurements:
    """What was measured of one cut.

    Attributes:
        cold: The start of its process.
        head: The head alone.
        codecs: Each codec alone, nothing being sent: `protect_ns`, `encode_ns` and `bytes`, run by run.
        requests: Whole requests with each codec, to a server on this machine or to the real one.
    """

    candidate: Candidate
    cold: ColdStart
    head: Timing
    codecs: Mapping[str, Columns]
    requests: Mapping[str, Columns]


def measure_cut(candidate: Candidate, images: Path, settings: Settings, connect: str | None = None) -> CutMeasurements:
    """Measure everything about one cut on this device, with the images in an .npy, ``(N, *input.shape)`` in [0, 1].

    The server is the real one at the address `connect`, which holds this very split, or else a process here.

    Raises:
        SplitError: The real server holds another split.
        WireError: The server could not be reached.
    """
    samples, seconds, security = settings.samples, settings.seconds, settings.security.to_json() if connect else {}
    with (
        contextlib.nullcontext(connect) if connect else served(candidate, settings) as address,
        _device(candidate, images, settings) as (run, cold),
    ):
        head = load(Timing, run("head", samples=samples, seconds=seconds, least=LEAST))
        codecs, requests = {}, {}
        for codec in settings.codecs:
            codecs[codec] = _columns(
                run("codec", codec=codec, samples=samples, seconds=CODEC_SHARE * seconds, least=LEAST // 3)
            )
            requests[codec] = _columns(
                run(
                    "requests", address=address, codec=codec, samples=samples, seconds=REQUESTS_SHARE * seconds,
                    least=LEAST_REQUESTS, request_s=DEADLINE_S, security=security,
                )
            )  # fmt: skip
    return CutMeasurements(candidate, cold, head, codecs, requests)


def measure_local(candidate: Candidate, images: Path, settings: Settings) -> Timing:
    """Measure head and tail of a cut both on this device, without any server."""
    with _device(candidate, images, settings) as (run, _):
        timing = run("local", samples=settings.samples, seconds=settings.seconds, least=LEAST)
    return load(Timing, timing)


@dataclass(frozen=True)
class Point:
    """A cut with a codec that is measured over a network, and what the cost model expects of one request."""

    candidate: Candidate
    codec: str
    network: Network
    samples: int
    expected_s: float


def measure_points(points: list[Point], images: Path, settings: Settings) -> Iterator[tuple[Point, Columns, str]]:
    """Measure whole requests through emulated networks; each point comes with what shaped its network.

    The points of one cut come together, cuts and points in random order.
    """
    rng = np.random.default_rng(settings.seed)
    order = [points[i] for i in rng.permutation(len(points))]
    for candidate in dict.fromkeys(point.candidate for point in order):
        with served(candidate, settings) as address, _device(candidate, images, settings) as (run, _):
            for point in (point for point in order if point.candidate is candidate):
                with shaped(address, point.network, tc=settings.tc) as (server, label):
                    requests = run(
                        "requests", address=server, codec=point.codec, samples=point.samples,
                        seconds=2 * point.samples * point.expected_s, least=1,
                        request_s=DEADLINE_S + 4 * point.expected_s, security={},
                    )  # fmt: skip
                yield point, _columns(requests), label


def served(candidate: Candidate, settings: Settings) -> AbstractContextManager[str]:
    """Serve the cut from a process on this machine; the context gives its address."""
    listen = f"{settings.transport}://127.0.0.1:0"
    words = "--listen", listen, "--threads", settings.server_threads
    return processes.cloud(candidate.folder, *words, codecs=settings.codecs)


def _device(candidate: Candidate, images: Path, settings: Settings) -> AbstractContextManager[tuple[Run, ColdStart]]:
    return open_device(
        candidate.folder,
        images,
        head=settings.head,
        threads=settings.threads,
        cores=settings.cores,
        quota=settings.quota,
    )


def _columns(answer: Mapping[str, Sequence[int]]) -> Columns:
    return {name: np.array(values, np.int64) for name, values in answer.items()}
