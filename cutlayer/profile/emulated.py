"""The profile of a deployment on this machine: every cut measured, networks emulated, the rest computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cutlayer.network.profiles import Network
from cutlayer.profile.cost_model import Request, Transport, fit, predict, shift, typical
from cutlayer.profile.measure import CutMeasurements, Point, Timing, measure_cut, measure_local, measure_points
from cutlayer.profile.plan import Say, Settings
from cutlayer.profile.prepare import Candidate
from cutlayer.profile.sampling import TURNS, Key, choose_points, p50
from cutlayer.records.profile import ModelCheck
from cutlayer.trace import Columns


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Everything that was measured, and what the cost model computes from it.

    Attributes:
        cuts: What was measured of each cut, by its name, in the order of the model.
        order: Names of the cuts, in the random order in which they were measured.
        local: The whole model on this device; None where the device has no tail.
        transport: Transport as fitted to the measurements.
        requests: Typical request of every choice to the server on this machine.
        measured: Whole requests, by network and choice.
        predicted: Stages and ``end_to_end`` in ns by the cost model, by network and choice; `shifts_ns` are included.
        checks: Points that the fit of the cost model has not seen, predicted without a shift.
        shifts_ns: Median time that the points measured through a network took beyond the model, by network.
        labels: What shaped each network through which something was measured.
        real: Whether the transport was fitted to a real network, and includes its round trip and rate.
    """

    cuts: Mapping[str, CutMeasurements]
    order: Sequence[str]
    local: Timing | None
    networks: Sequence[Network]
    transport: Transport
    requests: Mapping[Key, Request]
    measured: Mapping[str, Mapping[Key, Columns]]
    predicted: Mapping[str, Mapping[Key, Mapping[str, float]]]
    checks: Sequence[ModelCheck]
    shifts_ns: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    real: bool = False

    @property
    def model_errors(self) -> list[float]:
        """Errors of the cost model at `checks`, as parts of what was measured."""
        return [check.error for check in self.checks]


def measure_emulated(
    candidates: Sequence[Candidate],
    images: Path,
    networks: Sequence[Network],
    settings: Settings,
    say: Say,
    may_recommend: Callable[[Key], bool],
) -> Measurements:
    """Measure on this machine, through emulated networks; the time goes to the choices that may be recommended.

    Raises:
        CutlayerError: A cut cannot be run.
    """
    cuts, order = measure_all(candidates, images, settings, say)
    say("the whole model on this device")
    local = measure_local(candidates[-1], images, settings)
    requests = typical_requests(cuts)
    transport = fit(requests.values())
    model = {
        network.name: {key: predict(request, transport, network) for key, request in requests.items()}
        for network in networks
    }
    # What was measured without a network counts for those that shape nothing.
    unshaped = {(cut, codec): columns for cut, of_cut in cuts.items() for codec, columns in of_cut.requests.items()}
    measured: dict[str, dict[Key, Columns]] = {
        network.name: {} if network.shapes else dict(unshaped) for network in networks
    }
    labels: dict[str, str] = {}
    checks: list[ModelCheck] = []
    shifts: dict[str, float] = {}
    predicted = model
    for _ in range(TURNS):
        points = []
        for place, network in enumerate(network for network in networks if network.shapes):
            seed = [settings.seed, place]
            chosen = choose_points(predicted[network.name], measured[network.name], may_recommend, seed)
            points += [Point(cuts[cut].candidate, codec, network, n, s) for (cut, codec), n, s in chosen]
        for point, columns, label in measure_points(points, images, settings):
            cut, codec, name = point.candidate.cut, point.codec, point.network.name
            say(f"{cut} with {codec} over {name}: {point.samples} requests")
            labels[name], measured[name][cut, codec] = label, columns
            checks.append(ModelCheck(name, cut, codec, model[name][cut, codec]["end_to_end"], p50(columns)))
        for network in networks:
            off_ns = [check.measured_ns - check.predicted_ns for check in checks if check.network == network.name]
            shifts[network.name] = float(np.median(off_ns)) if off_ns else 0.0
        predicted = {
            name: {key: shift(stages, shifts[name]) for key, stages in by_key.items()} for name, by_key in model.items()
        }
    return Measurements(
        cuts=cuts, order=order, local=local, networks=networks, transport=transport, requests=requests,
        measured=measured, predicted=predicted, checks=checks, shifts_ns=shifts, labels=labels,
    )  # fmt: skip


def measure_all(
    candidates: Sequence[Candidate], images: Path, settings: Settings, say: Say
) -> tuple[dict[str, CutMeasurements], list[str]]:
    """All cuts by name, in the order of the model, and the random order in which they were measured.

    The order is random so that a change of the machine over the minutes does not look like a difference between cuts.
    """
    cuts = {}
    for place, index in enumerate(np.random.default_rng(settings.seed).permutation(len(candidates)), 1):
        candidate = candidates[index]
        say(f"{place} of {len(candidates)}: {candidate.cut}")
        cuts[candidate.cut] = measure_cut(candidate, images, settings)
    return {candidate.cut: cuts[candidate.cut] for candidate in candidates}, list(cuts)


def typical_requests(cuts: Mapping[str, CutMeasurements]) -> dict[Key, Request]:
    """The typical request of every choice."""
    of_cuts = {cut: typical(of_cut.requests) for cut, of_cut in cuts.items()}
    return {(cut, codec): request for cut, of_cut in of_cuts.items() for codec, request in of_cut.items()}
