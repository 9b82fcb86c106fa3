"""One profile: every cut measured, the cost model fitted and checked, and the best cut for each network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cutlayer.network.profiles import Network
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.cost_model import Transport, errors, fit, predict, shift, typical
from cutlayer.profile.plan import Settings
from cutlayer.profile.sampling import TURNS, Key, choose, p50, spent
from cutlayer.profile.sweep import Observed, Point, locally, observe, through
from cutlayer.trace import Columns

Say = Callable[[str], None]

Check = tuple[str, Key, float, float]
"""Network, cut and codec, and the end-to-end p50 in ns, predicted and measured."""


@dataclass(frozen=True)
class Profile:
    """Everything that was measured, and what follows from it.

    Attributes:
        observed: All cuts, in the order of the model.
        order: Names of the cuts, in the random order in which they were measured.
        local: The whole model on this device, as `cutlayer.deployment.device.time_local` gives it; None where the
            device has no tail.
        networks: Asked for.
        transport: What was fitted.
        measured: Whole requests, by network, cut and codec.
        predicted: Stages and ``end_to_end`` in ns by the cost model, likewise, for everything that was asked for;
            `shifts_ns` are in them.
        checks: Points that the fit of the cost model has not seen, predicted without a shift.
        shifts_ns: What the points measured through a network took beyond the model, in the middle.
        labels: Who shaped each network, where something was measured through it.
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
    shifts_ns: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    real: bool = False

    @property
    def model_errors(self) -> list[float]:
        """Of the cost model at `checks`, as parts of what was measured."""
        return [float(e) for e in errors([c[2] for c in self.checks], [c[3] for c in self.checks])]


def profile(
    candidates: Sequence[Candidate],
    images: Path,
    networks: Sequence[Network],
    settings: Settings,
    say: Say,
    kept: Callable[[Key], bool] = lambda _: True,
) -> Profile:
    """Measure on this machine, through emulated networks.

    Args:
        candidates: The cuts, in the order of the model.
        images: ``(N, C, H, W)`` float32 in [0, 1], as .npy.
        networks: To compare on.
        settings: How.
        say: Told what is being done.
        kept: Whether a choice may be recommended: the measurements go to those that may.

    Raises:
        CutlayerError: A cut cannot be run.
    """
    observed, order = observe_all(candidates, images, settings, say)
    say("the whole model on this device")
    local = locally(candidates[-1], images, settings)
    requests = {(cut, codec): r for cut, one in observed.items() for codec, r in typical(one.requests).items()}
    transport = fit(
        [request.n_bytes for request in requests.values()],
        [request.stages["network"] for request in requests.values()],
    )
    model = {
        network.name: {key: predict(request, transport, network) for key, request in requests.items()}
        for network in networks
    }
    measured: dict[str, dict[Key, Columns]] = {
        network.name: {}
        if network.shapes
        else {(cut, codec): timed for cut, one in observed.items() for codec, timed in one.requests.items()}
        for network in networks
    }
    labels: dict[str, str] = {}
    checks: list[Check] = []
    shifts: dict[str, float] = {}
    predicted = model
    for _ in range(TURNS):
        points = []
        for place, network in enumerate(network for network in networks if network.shapes):
            spent_s = sum(spent(timed) for timed in measured[network.name].values())
            keys = choose(predicted[network.name], measured[network.name], spent_s, kept, [settings.seed, place])
            points += [Point(observed[cut].candidate, c, network, n, s) for (cut, c), n, s in keys]
        for point, timed, labels[point.network.name] in through(points, images, settings):
            say(f"{point.candidate.cut} with {point.codec} over {point.network.name}: {point.samples} requests")
            key, name = (point.candidate.cut, point.codec), point.network.name
            measured[name][key] = timed
            checks.append((name, key, model[name][key]["end_to_end"], p50(timed)))
        off = {network.name: [c[3] - c[2] for c in checks if c[0] == network.name] for network in networks}
        shifts = {name: float(np.median(found)) if found else 0.0 for name, found in off.items()}
        predicted = {n: {key: shift(stages, shifts[n]) for key, stages in told.items()} for n, told in model.items()}
    return Profile(
        list(observed.values()), order, local, networks, transport, measured, predicted, checks, shifts, labels
    )  # fmt: skip


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
