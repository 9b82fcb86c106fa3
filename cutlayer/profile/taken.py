"""What a profile has measured, at any time from its first cut to its end, and what the cost model computes from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cutlayer.network.profiles import Network
from cutlayer.profile.cost_model import Request, Transport, typical
from cutlayer.profile.lengths import LengthMeasurements
from cutlayer.profile.measure import CutMeasurements, LocalMeasurements
from cutlayer.profile.points import PointMeasurements
from cutlayer.profile.prepare import Candidate
from cutlayer.profile.rounds import Rounds
from cutlayer.profile.sampling import Key
from cutlayer.profile.timing import Timing
from cutlayer.records.profile import ModelCheck
from cutlayer.trace import Columns


@dataclass
class Taken:
    """What has been measured so far.

    Attributes:
        candidates: The cuts to measure, in the order of the model.
        cuts: The cuts that were measured, by name, in the order in which they were.
        local: The whole model on this device; None where the device has no tail, or before it was measured.
        points: What was measured through each network, by its name and the choice.
        remote: The cut that a real server holds, as measured with it; None where there is no such server.
        lengths: Sentences of each length that was asked for, by the name of the cut.
    """

    candidates: Sequence[Candidate]
    cuts: dict[str, CutMeasurements] = field(default_factory=dict)
    local: LocalMeasurements | None = None
    points: dict[str, dict[Key, PointMeasurements]] = field(default_factory=dict)
    remote: CutMeasurements | None = None
    lengths: dict[str, list[LengthMeasurements]] = field(default_factory=dict)

    @property
    def in_order(self) -> dict[str, CutMeasurements]:
        """The cuts that were measured, in the order of the model."""
        return {c.cut: self.cuts[c.cut] for c in self.candidates if c.cut in self.cuts}

    @property
    def rounds(self) -> dict[str, Rounds[Any]]:
        """All rounds, by what was measured in them, in words."""
        rounds: dict[str, Rounds[Any]] = {cut: taken.rounds for cut, taken in self.in_order.items()}
        if self.remote is not None:
            rounds[f"{self.remote.candidate.cut} with the real server"] = self.remote.rounds
        if self.local is not None:
            rounds["the whole model on the device"] = self.local.rounds
        for network, points in self.points.items():
            for (cut, codec), point in points.items():
                rounds[f"{cut} with {codec} over {network}"] = point.rounds
        return rounds


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Everything that was measured, and what the cost model computes from it.

    Attributes:
        taken: The measurements themselves.
        cuts: What was measured of each cut, by its name, in the order of the model.
        transport: Transport as fitted to the measurements.
        requests: Typical request of every choice to the server on this machine.
        measured: Whole requests, by network and choice.
        predicted: Stages and ``end_to_end`` in ns by the cost model, by network and choice; `shifts_ns` are included.
        checks: Points that the fit of the cost model has not seen, predicted without a shift.
        shifts_ns: Median time that the points measured through a network took beyond the model, by network.
        labels: What shaped each network through which something was measured.
        real: Whether the transport was fitted to a real network, and includes its round trip and rate.
    """

    taken: Taken
    cuts: Mapping[str, CutMeasurements]
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
    def local(self) -> Timing | None:
        """The whole model on this device; None where it was not measured."""
        return None if self.taken.local is None else self.taken.local.timing

    @property
    def model_errors(self) -> list[float]:
        """Errors of the cost model at `checks`, as parts of what was measured."""
        return [check.error for check in self.checks]


def typical_requests(cuts: Mapping[str, CutMeasurements]) -> dict[Key, Request]:
    """The typical request of every choice."""
    of_cuts = {cut: typical(of_cut.requests) for cut, of_cut in cuts.items()}
    return {(cut, codec): request for cut, of_cut in of_cuts.items() for codec, request in of_cut.items()}


def off_ns(checks: Sequence[ModelCheck], network: str) -> float:
    """Median time that the points measured through a network took beyond the model; 0 without a point."""
    of_network = [check.measured_ns - check.predicted_ns for check in checks if check.network == network]
    return float(np.median(of_network)) if of_network else 0.0
