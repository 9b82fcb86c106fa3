"""The measurements: each cut in fresh processes, a device and a server, with a real socket between them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cutlayer.deployment import processes
from cutlayer.deployment.device_process import Run, open_device
from cutlayer.profile.plan import LEAST, Settings
from cutlayer.profile.prepare import Candidate
from cutlayer.profile.rounds import ROUNDS, Rounds, in_rounds, time_left
from cutlayer.profile.timing import Timing, together
from cutlayer.records.dataclass_json import load
from cutlayer.records.profile import ColdStart
from cutlayer.trace import Columns

HEAD_SHARE = 0.5
"""Share of `Settings.seconds` that the runs of a head take where no round is disturbed."""

CODEC_SHARE, REQUESTS_SHARE = 1 / 6, 1 / 3
"""Shares of a head's time that each codec alone and the whole requests with it get."""

LEAST_CODED, LEAST_REQUESTS = 6, 6
"""Number of runs of each codec alone, and of whole requests with it, in a round, however long they take."""

DEADLINE_S = 60.0
"""Time limit of a request, beyond the time that it is expected to take."""


class CutRound(NamedTuple):
    """One round of a cut.

    Attributes:
        head: The head alone.
        codecs: Each codec alone, nothing being sent: `protect_ns`, `encode_ns` and `bytes`, run by run.
        requests: Whole requests with each codec.
    """

    head: Timing
    codecs: dict[str, Columns]
    requests: dict[str, Columns]


@dataclass(frozen=True)
class CutMeasurements:
    """What was measured of one cut: the start of its process, and all rounds."""

    candidate: Candidate
    cold: ColdStart
    rounds: Rounds[CutRound]

    @cached_property
    def head(self) -> Timing:
        """The head alone, in the rounds that count."""
        # Later rounds begin with the memory of the codecs.
        peak_rss_bytes = self.rounds.taken[0].value.head.peak_rss_bytes
        return replace(together([taken.head for taken in self.rounds.used]), peak_rss_bytes=peak_rss_bytes)

    @cached_property
    def codecs(self) -> dict[str, Columns]:
        """Each codec alone, in the rounds that count; see `CutRound`."""
        return _by_codec([taken.codecs for taken in self.rounds.used])

    @cached_property
    def requests(self) -> dict[str, Columns]:
        """Whole requests with each codec, to a server on this machine or to the real one, in the rounds that count."""
        return _by_codec([taken.requests for taken in self.rounds.used])


def _by_codec(rounds: Sequence[Mapping[str, Columns]]) -> dict[str, Columns]:
    return {codec: concatenated([taken[codec] for taken in rounds]) for codec in rounds[0]}


@dataclass(frozen=True)
class LocalMeasurements:
    """The whole model on the device: all rounds."""

    rounds: Rounds[Timing]

    @cached_property
    def timing(self) -> Timing:
        """The timing in the rounds that count."""
        return together(self.rounds.used)


def measure_cut(candidate: Candidate, images: Path, settings: Settings, connect: str | None = None) -> CutMeasurements:
    """Measure everything about one cut on this device, with the images in an .npy, ``(N, *input.shape)`` in [0, 1].

    The server is the real one at the address `connect`, which holds this very split, or else a process here. Each round
    goes through the head, and each codec alone and in requests.

    Raises:
        SplitError: The real server holds another split.
        WireError: The server could not be reached.
    """
    security = settings.security.to_json() if connect else {}
    samples, seconds = _for_a_round(settings)
    with (
        contextlib.nullcontext(connect) if connect else served(candidate, settings) as address,
        device(candidate, images, settings) as (run, cold),
    ):

        def take() -> tuple[CutRound, Timing]:
            head = _timing(run, "head", settings)
            codecs, requests = {}, {}
            for codec in settings.codecs:
                codecs[codec] = columns(
                    run("codec", codec=codec, samples=samples, seconds=CODEC_SHARE * seconds, least=LEAST_CODED)
                )
                requests[codec] = columns(
                    run(
                        "requests", address=address, codec=codec, samples=samples, seconds=REQUESTS_SHARE * seconds,
                        least=LEAST_REQUESTS, request_s=DEADLINE_S, security=security,
                    )
                )  # fmt: skip
            return CutRound(head, codecs, requests), head

        rounds = in_rounds(take, time_left(settings.seconds))
    return CutMeasurements(candidate, cold, rounds)


def measure_local(candidate: Candidate, images: Path, settings: Settings) -> LocalMeasurements:
    """Measure head and tail of a cut both on this device, without any server."""
    with device(candidate, images, settings) as (run, _):

        def take() -> tuple[Timing, Timing]:
            timing = _timing(run, "local", settings)
            return timing, timing

        rounds = in_rounds(take, time_left(settings.seconds))
    return LocalMeasurements(rounds)


def _for_a_round(settings: Settings) -> tuple[int, float]:
    """Number of runs of the head in one round, and the seconds that they may take once there are enough of them."""
    return ceil(settings.samples / ROUNDS), HEAD_SHARE * settings.seconds / ROUNDS


def _timing(run: Run, task: str, settings: Settings) -> Timing:
    """One round of the head, or of the whole model."""
    samples, seconds = _for_a_round(settings)
    return load(Timing, run(task, samples=samples, seconds=seconds, least=LEAST // ROUNDS))


def served(candidate: Candidate, settings: Settings) -> AbstractContextManager[str]:
    """Serve the cut from a process on this machine; the context gives its address."""
    listen = f"{settings.transport}://127.0.0.1:0"
    words = "--listen", listen, "--threads", settings.server_threads
    return processes.cloud(candidate.folder, *words, codecs=settings.codecs)


def device(candidate: Candidate, images: Path, settings: Settings) -> AbstractContextManager[tuple[Run, ColdStart]]:
    """Start a process of the device for the cut; the context gives what runs its tasks, and its cold start."""
    return open_device(
        candidate.folder,
        images,
        head=settings.head,
        threads=settings.threads,
        cores=settings.cores,
        quota=settings.quota,
    )


def concatenated(parts: Sequence[Columns]) -> Columns:
    """The columns of several rounds, one after the other."""
    return {name: np.concatenate([columns[name] for columns in parts]) for name in parts[0]}


def columns(answer: Mapping[str, Sequence[int]]) -> Columns:
    """The columns in the answer of a task, as arrays."""
    return {name: np.array(values, np.int64) for name, values in answer.items()}
