"""The measurements: each cut in fresh processes, a device and a cloud, with a real socket between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutlayer.deployment import processes
from cutlayer.network.profiles import Network
from cutlayer.network.shaper import Shaped
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.device_process import Ask, device
from cutlayer.profile.plan import LEAST, Settings
from cutlayer.trace import Columns

CODEC_SHARE, REQUESTS_SHARE = 1 / 6, 1 / 3
"""Of the time for a head: for each codec alone, and for whole requests with it."""

LEAST_REQUESTS = 30
"""Whole requests with each codec, whatever it takes."""

DEADLINE_S = 60.0
"""Of a request, beyond the time that it is expected to take."""


@dataclass(frozen=True)
class Observed:
    """What one cut gave.

    Attributes:
        candidate: Which.
        opened: ``start_ns``, ``open_ns`` and ``first_ns`` of its process: until it could work, opening the head,
            and the very first inference.
        head: As `cutlayer.deployment.device.time_head` gives it.
        codecs: The same of `time_codec`, by codec.
        requests: Whole requests with each codec, to a cloud on this machine or to the real one.
    """

    candidate: Candidate
    opened: dict[str, int]
    head: dict[str, Any]
    codecs: dict[str, dict[str, Any]]
    requests: dict[str, Columns]


def observe(candidate: Candidate, images: Path, settings: Settings, connect: str | None = None) -> Observed:
    """Everything about one cut on this device.

    Args:
        candidate: The cut.
        images: As for `device`.
        settings: How.
        connect: A real server that holds this very split; one is started on this machine when left out.

    Raises:
        SplitError: The real server holds another split.
        WireError: The server could not be reached.
    """
    with contextlib.ExitStack() as opened:
        address = connect or opened.enter_context(served(candidate, settings))
        ask, took = opened.enter_context(device(candidate, images, settings))
        head = ask("head", samples=settings.samples, seconds=settings.seconds, least=LEAST)
        codecs, requests = {}, {}
        for codec in settings.codecs:
            codecs[codec] = ask(
                "codec", codec=codec, samples=settings.samples, seconds=CODEC_SHARE * settings.seconds, least=LEAST // 3
            )
            requests[codec] = _requests(
                ask,
                settings,
                address,
                codec,
                samples=settings.samples,
                seconds=REQUESTS_SHARE * settings.seconds,
                least=LEAST_REQUESTS,
                real=connect is not None,
            )
    return Observed(candidate, took, head, codecs, requests)


def locally(candidate: Candidate, images: Path, settings: Settings) -> dict[str, Any]:
    """Head and tail of a cut both on this device: what it takes without any server."""
    with device(candidate, images, settings) as (ask, _):
        return ask("local", samples=settings.samples, seconds=settings.seconds, least=LEAST)


@dataclass(frozen=True)
class Point:
    """One thing to measure: a cut with a codec over a network.

    Attributes:
        candidate: The cut.
        codec: Name.
        network: Through which the requests go.
        samples: Requests.
        expected_s: For one of them, by the cost model.
    """

    candidate: Candidate
    codec: str
    network: Network
    samples: int
    expected_s: float


def through(points: list[Point], images: Path, settings: Settings) -> Iterator[tuple[Point, Columns, str]]:
    """Whole requests through emulated networks, and who shaped them.

    The points of one cut come together, cuts and points in random order.
    """
    rng = np.random.default_rng(settings.seed)
    order = [points[i] for i in rng.permutation(len(points))]
    for candidate in dict.fromkeys(point.candidate for point in order):
        with served(candidate, settings) as address, device(candidate, images, settings) as (ask, _):
            for point in (point for point in order if point.candidate is candidate):
                shaper = Shaped(address, point.network, tc=settings.tc)
                with shaper as shaped:
                    timed = _requests(
                        ask, settings, shaped, point.codec, samples=point.samples,
                        seconds=2 * point.samples * point.expected_s, least=1, expected_s=point.expected_s,
                    )  # fmt: skip
                yield point, timed, shaper.label


@contextlib.contextmanager
def served(candidate: Candidate, settings: Settings) -> Iterator[str]:
    """A cloud process of the cut on this machine; its address."""
    listen = f"{settings.transport}://127.0.0.1:0"
    with processes.cloud(candidate.folder, "--listen", listen, "--threads", settings.server_threads) as address:
        yield address


def _requests(
    ask: Ask,
    settings: Settings,
    address: str,
    codec: str,
    *,
    samples: int,
    seconds: float,
    least: int,
    expected_s: float = 0.0,
    real: bool = False,
) -> Columns:
    security = {"security": settings.security.to_json()} if real else {}
    told = ask(
        "requests", address=address, codec=codec, samples=samples, seconds=seconds, least=least,
        request_s=DEADLINE_S + 4 * expected_s, **security,
    )  # fmt: skip
    return {name: np.array(values, np.int64) for name, values in told["columns"].items()}
