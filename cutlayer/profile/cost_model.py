"""How long a request would take over a network where it was not measured.

    latency = head + protect + encode + transport + rtt + bytes / rate up + late by jitter + answer / rate down
              + queue + decode + tail + reply + unattributed

The stages of the two machines are those measured in whole requests over loopback. What the transport itself takes,
``fixed + per_byte * bytes``, is fitted to the same requests. A network then adds its round trip and its rates, with
nothing fitted to it; how far that is from what was measured through it is printed with every profile.

What is shown is comparable with what was measured: to all that is computed for a network, `shift` adds what the points
measured through it took beyond the model, in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.network.link import PACKET_BYTES, late_s
from cutlayer.network.profiles import Network
from cutlayer.trace import STAGES, Columns

ON_MACHINES = tuple(stage for stage in STAGES if stage != "network")
"""Stages that a network does not change."""

ANSWER_BYTES = 300
"""Of an answer: ten logits and a header. A thousand logits are 4 kB, which only the slowest of networks shows."""


@dataclass(frozen=True)
class Transport:
    """What sending and receiving takes over a network that takes nothing.

    Attributes:
        fixed_ns: For any request.
        per_byte_ns: For each byte of the message, 0 or more.
    """

    fixed_ns: float
    per_byte_ns: float

    def ns(self, n_bytes: float) -> float:
        """For a message of so many bytes."""
        return self.fixed_ns + self.per_byte_ns * n_bytes


def fit(n_bytes: Sequence[float], network_ns: Sequence[float]) -> Transport:
    """The line through measured points that is nearest in proportion, with no negative part.

    In proportion because a millisecond matters on a message of one, and not on one of a hundred.

    Args:
        n_bytes: Of the messages, one for each point.
        network_ns: Typical time of the network's stage, above 0.
    """
    x, y = np.asarray(n_bytes, float), np.asarray(network_ns, float)
    weights = 1 / y
    if len(np.unique(x)) > 1:
        columns = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
        (fixed, slope), *_ = np.linalg.lstsq(columns, y * weights)
        if slope >= 0 and fixed >= 0:
            return Transport(float(fixed), float(slope))
        if slope >= 0:
            return Transport(0.0, float((x * weights).sum() / ((x * weights) ** 2).sum()))
    return Transport(float(weights.sum() / (weights**2).sum()), 0.0)


class Request(NamedTuple):
    """What one cut with one codec takes wherever the network is: stages in ns, and bytes of the message up."""

    stages: dict[str, float]
    n_bytes: float

    @property
    def machines_ns(self) -> float:
        """Everything but the network."""
        return sum(self.stages[stage] for stage in ON_MACHINES)


OF_CODEC = ("protect", "encode", "network", "decode")
"""Stages that depend on the codec. What it does not touch is one figure for a cut, or the noise of two would decide."""


def typical(timed: Mapping[str, Columns]) -> dict[str, Request]:
    """The median of each stage of the requests of one cut, by codec."""
    every = {name: np.concatenate([one[name] for one in timed.values()]) for name in next(iter(timed.values()))}
    found = {}
    for codec, own in timed.items():
        stages = {s: float(np.median((own if s in OF_CODEC else every)[f"{s}_ns"])) for s in STAGES}
        found[codec] = Request(stages, float(np.median(own["message_bytes"])))
    return found


def predict(request: Request, transport: Transport, network: Network) -> dict[str, float]:
    """Each stage, and `end_to_end`, of this request over a network, in ns.

    Jitter is what it does to the end of a message, in the median. Lost packets count with their share alone, each of
    them as one more round trip; see the shaper for what loss does.
    """
    carried_s = 8 * request.n_bytes / network.up_bps + 8 * ANSWER_BYTES / network.down_bps
    carried_s += late_s(request.n_bytes, network.up_bps, network.jitter_s)
    packets = np.ceil(request.n_bytes / PACKET_BYTES) if network.loss else 0
    # At least one of the packets of a message has to come again: they do so together.
    again_s = (1 - (1 - network.loss) ** packets) * network.rtt_s
    on_network = transport.ns(request.n_bytes) + 1e9 * (network.rtt_s + carried_s + again_s)
    stages = {**request.stages, "network": on_network}
    return {**stages, "end_to_end": sum(stages.values())}


def shift(stages: Mapping[str, float], shift_ns: float) -> dict[str, float]:
    """What `predict` gave, later by so much on the network."""
    network = max(0.0, stages["network"] + shift_ns)
    return {**stages, "network": network, "end_to_end": stages["end_to_end"] - stages["network"] + network}


class Line(NamedTuple):
    """Latency of one choice against bandwidth: ``fixed_ns + 8e9 * n_bytes / bps``."""

    name: str
    fixed_ns: float
    n_bytes: float

    def ns(self, bps: float) -> float:
        """At this rate up, in bits per second; it may be infinite."""
        return self.fixed_ns + (0.0 if bps == inf else 8e9 * self.n_bytes / bps)


class Reign(NamedTuple):
    """The choice that is the fastest from one rate up to another, in bits per second."""

    name: str
    from_bps: float
    to_bps: float


def envelope(lines: Sequence[Line]) -> list[Reign]:
    """Which choice is the fastest at which bandwidth: from the slowest network, 0, to an infinite one.

    In seconds per bit the lines are straight, so that the changes are exact crossings and no grid can miss one.
    """
    reigns: list[Reign] = []
    current = min(lines, key=lambda line: (line.fixed_ns, line.n_bytes))
    bps = inf
    while True:
        # Going to slower networks, only a choice that sends less can overtake: the one that does so first.
        crossings = [
            (8e9 * (current.n_bytes - line.n_bytes) / max(line.fixed_ns - current.fixed_ns, 1e-9), line)
            for line in lines
            if line.n_bytes < current.n_bytes
        ]
        if not crossings:
            reigns.append(Reign(current.name, 0.0, bps))
            return reigns[::-1]
        at, following = max(crossings, key=lambda crossing: (crossing[0], -crossing[1].n_bytes))
        reigns.append(Reign(current.name, at, bps))
        current, bps = following, at


def errors(predicted_ns: Sequence[float], measured_ns: Sequence[float]) -> NDArray[np.float64]:
    """Of the model at points that were measured, as a part of what was measured: 0.1 is a tenth too slow."""
    predicted, measured = np.asarray(predicted_ns, float), np.asarray(measured_ns, float)
    return np.asarray((predicted - measured) / measured)
