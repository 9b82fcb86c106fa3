"""Whole requests that are measured through emulated networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path

import numpy as np

from cutlayer.deployment.device_process import Run
from cutlayer.network.profiles import Network
from cutlayer.network.shaper import shaped
from cutlayer.profile.measure import DEADLINE_S, columns, concatenated, device, served
from cutlayer.profile.plan import Settings
from cutlayer.profile.prepare import Candidate
from cutlayer.profile.rounds import LONG_NS, Rounds, in_rounds
from cutlayer.trace import Columns

ROUNDS, MANY_REQUESTS = 3, 12
"""Rounds of a point, and the number of requests from which on it has so many."""


@dataclass(frozen=True)
class Point:
    """A cut with a codec that is measured over a network, and what the cost model expects of one request."""

    candidate: Candidate
    codec: str
    network: Network
    samples: int
    expected_s: float


@dataclass(frozen=True)
class PointMeasurements:
    """Whole requests over a network: all rounds, and what shaped the network."""

    rounds: Rounds[Columns]
    label: str

    @cached_property
    def requests(self) -> Columns:
        """The requests in the rounds that count."""
        return concatenated(self.rounds.used)


def measure_points(
    points: Sequence[Point], images: Path, settings: Settings
) -> Iterator[tuple[Point, PointMeasurements]]:
    """Measure whole requests through emulated networks.

    The points of one cut come together, cuts and points in random order.
    """
    rng = np.random.default_rng(settings.seed)
    order = [points[i] for i in rng.permutation(len(points))]
    for candidate in dict.fromkeys(point.candidate for point in order):
        with served(candidate, settings) as address, device(candidate, images, settings) as (run, _):
            for point in (point for point in order if point.candidate is candidate):
                with shaped(address, point.network, tc=settings.tc) as (server, label):
                    rounds = _measure(point, server, run)
                yield point, PointMeasurements(rounds, label)


def _measure(point: Point, server: str, run: Run) -> Rounds[Columns]:
    # Each round begins with a handshake, which would take most of the time where there are few requests.
    wanted = ROUNDS if point.samples >= MANY_REQUESTS else 1
    samples = max(ceil(point.samples / wanted), ceil(LONG_NS / (1e9 * point.expected_s)))

    def take() -> tuple[Columns, None]:
        answer = run(
            "requests", address=server, codec=point.codec, samples=samples, seconds=2 * samples * point.expected_s,
            least=1, request_s=DEADLINE_S + 4 * point.expected_s, security={},
        )  # fmt: skip
        return columns(answer), None

    return in_rounds(take, lambda rounds: len(rounds.taken) < 2 * wanted, wanted)
