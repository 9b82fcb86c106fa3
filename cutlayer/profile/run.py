"""One profile: every cut measured, the cost model fitted and checked, and the best cut for each network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutlayer.network.profiles import Network
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.cost_model import Request, Transport, errors, fit, predict, typical
from cutlayer.profile.settings import Settings
from cutlayer.profile.sweep import Observed, Point, locally, observe, through
from cutlayer.trace import Columns

Say = Callable[[str], None]

NETWORK_S = 14.0
"""Of measurement through each emulated network."""

POINTS, LEAST_REQUESTS, MOST_REQUESTS = 3, 3, 30
"""Points measured through each network, and requests of each."""

WARMUP = 1
"""The very first request of a point, which does not count."""

Key = tuple[str, str]
"""Cut and codec."""

Check = tuple[str, Key, float, float]
"""Network, cut and codec, and the end-to-end p50 in ns, predicted and measured."""


@dataclass(frozen=True)
class Profile:
    """Everything that was measured, and what follows from it.

    Attributes:
        observed: All cuts, in the order of the model.
        order: Names of the cuts, in the random order in which they were measured.
        local: The whole model on this device, as `cutlayer.profile.device.time_local` gives it; None where the
            device has no tail.
        networks: Asked for.
        transport: What was fitted.
        measured: Whole requests, by network, cut and codec.
        predicted: Stages and ``end_to_end`` in ns by the cost model, likewise, for everything that was asked for.
        checks: Points that the fit of the cost model has not seen.
        real: The transport was fitted to a real network, whose round trip and rate it holds.
    """

    observed: Sequence[Observed]
    order: Sequence[str]
    local: Mapping[str, Any] | None
    networks: Sequence[Network]
    transport: Transport
    measured: Mapping[str, Mapping[Key, Columns]]
    predicted: Mapping[str, Mapping[Key, Mapping[str, float]]]
    checks: Sequence[Check]
    real: bool = False

    @property
    def model_errors(self) -> list[float]:
        """Of the cost model at `checks`, as parts of what was measured."""
        return [float(e) for e in errors([c[2] for c in self.checks], [c[3] for c in self.checks])]


def profile(
    candidates: Sequence[Candidate], images: Path, networks: Sequence[Network], settings: Settings, say: Say
) -> Profile:
    """Measure on this machine, through emulated networks.

    Args:
        candidates: The cuts, in the order of the model.
        images: ``(N, C, H, W)`` float32 in [0, 1], as .npy.
        networks: To compare on.
        settings: How.
        say: Told what is being done.

    Raises:
        CutlayerError: A cut cannot be run.
    """
    observed, order = observe_all(candidates, images, settings, say)
    say("the whole model on this device")
    local = locally(candidates[-1], images, settings)
    requests = {(cut, codec): typical(timed) for cut, one in observed.items() for codec, timed in one.requests.items()}
    transport = fit(
        [request.n_bytes for request in requests.values()],
        [request.stages["network"] for request in requests.values()],
    )
    predicted = {
        network.name: {key: predict(request, transport, network) for key, request in requests.items()}
        for network in networks
    }
    measured: dict[str, dict[Key, Columns]] = {network.name: {} for network in networks}
    for network in networks:
        if not network.shapes:
            measured[network.name] = {
                (cut, codec): timed for cut, one in observed.items() for codec, timed in one.requests.items()
            }
    checks: list[Check] = []
    points = choose_points(observed, requests, predicted, networks, settings.seed)
    for point, timed in through(points, images, settings):
        say(f"{point.candidate.cut} with {point.codec} over {point.network.name}: {point.samples} requests")
        key = point.candidate.cut, point.codec
        measured[point.network.name][key] = timed
        checks.append((point.network.name, key, predicted[point.network.name][key]["end_to_end"], _p50(timed)))
    return Profile(list(observed.values()), order, local, networks, transport, measured, predicted, checks)


def observe_all(
    candidates: Sequence[Candidate], images: Path, settings: Settings, say: Say
) -> tuple[dict[str, Observed], list[str]]:
    """All cuts by name, in the order of the model, and the random order in which they were measured.

    What changes over the minutes must not look like a difference between cuts.
    """
    found = {}
    for place, index in enumerate(np.random.default_rng(settings.seed).permutation(len(candidates)), 1):
        candidate = candidates[index]
        say(f"{place} of {len(candidates)}: {candidate.cut}")
        found[candidate.cut] = observe(candidate, images, settings)
    return {one.cut: found[one.cut] for one in candidates}, list(found)


def choose_points(
    observed: Mapping[str, Observed],
    requests: Mapping[Key, Request],
    predicted: Mapping[str, Mapping[Key, Mapping[str, float]]],
    networks: Sequence[Network],
    seed: int,
) -> list[Point]:
    """What to measure through each network: the two cuts that are likely best, and another to check the model by.

    A point whose requests would take too long is left to the model: on a slow enough network all may be.
    """
    rng, points = np.random.default_rng(seed), []
    for network in (network for network in networks if network.shapes):
        times = {key: stages["end_to_end"] / 1e9 for key, stages in predicted[network.name].items()}
        ranked = sorted(times, key=times.__getitem__)
        fastest = list({cut: (cut, codec) for cut, codec in reversed(ranked)}.values())
        fastest.sort(key=times.__getitem__)
        rest = [key for key in ranked if key not in fastest[: POINTS - 1]]
        rng.shuffle(rest)
        left_s, chosen = NETWORK_S, 0
        for cut, codec in map(tuple, [*fastest[: POINTS - 1], *rest]):
            one_s = times[cut, codec]
            samples = min(MOST_REQUESTS, int(NETWORK_S / POINTS / one_s) - WARMUP)
            samples = max(samples, LEAST_REQUESTS)
            if chosen < POINTS and (samples + WARMUP) * one_s <= left_s:
                points.append(Point(observed[cut].candidate, codec, network, samples, one_s))
                chosen, left_s = chosen + 1, left_s - (samples + WARMUP) * one_s
    return points


def _p50(timed: Columns) -> float:
    return float(np.median(timed["end_to_end_ns"]))
