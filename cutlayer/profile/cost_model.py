"""How long a request would take over a network where it was not measured.

    latency = head + protect + encode + transport + rtt + bytes / rate up + late by jitter + answer / rate down
              + queue + decode + tail + reply + unattributed

The stages of the two machines are those measured in whole requests over loopback. The time of the transport itself,
``fixed + per_byte * bytes``, is fitted to the same requests. A network then adds its round trip and its rates, with
nothing fitted to it; how far that is from what was measured through it is printed with every profile.

Computed figures are comparable with measured ones: to all that is computed for a network, `shift` adds the median time
that the points measured through it took beyond the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cutlayer.network.link import PACKET_BYTES, late_s
from cutlayer.network.profiles import Network
from cutlayer.records.profile import Line, Span
from cutlayer.trace import STAGES, Columns

ON_MACHINES = tuple(stage for stage in STAGES if stage != "network")
"""Stages that the network does not change."""


@dataclass(frozen=True)
class Transport:
    """The time of sending and receiving over a network that takes no time.

    Attributes:
        fixed_ns: Time for any request.
        per_byte_ns: Time for each byte of the message, 0 or more.
    """

    fixed_ns: float
    per_byte_ns: float

    def ns(self, n_bytes: float) -> float:
        """The time for a message of this size."""
        return self.fixed_ns + self.per_byte_ns * n_bytes


class Request(NamedTuple):
    """A typical request of one cut with one codec: its stages in ns, and the sizes of the messages up and down."""

    stages: dict[str, float]
    n_bytes: float
    answer_bytes: float

    @property
    def machines_ns(self) -> float:
        """The time of all stages but the network."""
        return sum(self.stages[stage] for stage in ON_MACHINES)


def fit(requests: Iterable[Request]) -> Transport:
    """The line through the network's stage of these requests, with the least relative error and no negative part.

    The error is relative because a millisecond matters in a time of one millisecond, and not in one of a hundred.
    """
    x, y = np.array([(request.n_bytes, request.stages["network"]) for request in requests], float).T
    weights = 1 / y
    if len(np.unique(x)) > 1:
        columns = np.stack([np.ones_like(x), x], axis=1) * weights[:, None]
        (fixed, slope), *_ = np.linalg.lstsq(columns, y * weights)
        if slope >= 0 and fixed >= 0:
            return Transport(float(fixed), float(slope))
        if slope >= 0:
            return Transport(0.0, float((x * weights).sum() / ((x * weights) ** 2).sum()))
    return Transport(float(weights.sum() / (weights**2).sum()), 0.0)


OF_CODEC = ("protect", "encode", "network", "decode")
"""Stages that depend on the codec. The others have one figure for each cut, or the noise between two would decide."""


def typical(requests: Mapping[str, Columns]) -> dict[str, Request]:
    """The median of each stage of the requests of one cut, by codec."""
    names = next(iter(requests.values()))
    pooled = {name: np.concatenate([columns[name] for columns in requests.values()]) for name in names}
    return {
        codec: Request(
            {s: float(np.median((columns if s in OF_CODEC else pooled)[f"{s}_ns"])) for s in STAGES},
            float(np.median(columns["message_bytes"])),
            float(np.median(pooled["answer_bytes"])),
        )
        for codec, columns in requests.items()
    }


def predict(request: Request, transport: Transport, network: Network) -> dict[str, float]:
    """Each stage, and `end_to_end`, of this request over a network, in ns.

    Jitter counts as the median delay of the end of a message. Lost packets count with their share alone, each of them
    as one more round trip; the shaper describes what loss does.
    """
    directions = [(request.n_bytes, network.up_bps), (request.answer_bytes, network.down_bps)]
    carried_s = sum(_carried_s(n_bytes, rate_bps, network) for n_bytes, rate_bps in directions)
    on_network = transport.ns(request.n_bytes) + 1e9 * (network.rtt_s + carried_s)
    stages = {**request.stages, "network": on_network}
    return {**stages, "end_to_end": sum(stages.values())}


def _carried_s(n_bytes: float, rate_bps: float, network: Network) -> float:
    """The time of one message in one direction, beyond the delay of the network."""
    packets = np.ceil(n_bytes / PACKET_BYTES) if network.loss else 0
    # The probability that at least one packet of a message has to be sent again; all lost ones are sent together.
    again_s = float(1 - (1 - network.loss) ** packets) * network.rtt_s
    return 8 * n_bytes / rate_bps + late_s(n_bytes, rate_bps, network.jitter_s) + again_s


def shift(stages: Mapping[str, float], shift_ns: float) -> dict[str, float]:
    """The stages that `predict` returned, with this much more time on the network."""
    network = max(0.0, stages["network"] + shift_ns)
    return {**stages, "network": network, "end_to_end": stages["end_to_end"] - stages["network"] + network}


def envelope(lines: Sequence[Line]) -> list[Span]:
    """Which choice is the fastest at which bandwidth, from the slowest network to an infinitely fast one.

    In seconds per bit the lines are straight, so that the changes are exact crossings and no grid can miss one.
    """
    spans: list[Span] = []
    current = min(lines, key=lambda line: (line.fixed_ns, line.n_bytes))
    to_bps = None
    while True:
        # On slower and slower networks, the next choice is the first that overtakes, and it has to send less.
        crossings = [
            (8e9 * (current.n_bytes - line.n_bytes) / max(line.fixed_ns - current.fixed_ns, 1e-9), line)
            for line in lines
            if line.n_bytes < current.n_bytes
        ]
        if not crossings:
            return [Span(current.name, 0.0, to_bps), *reversed(spans)]
        from_bps, following = max(crossings, key=lambda crossing: (crossing[0], -crossing[1].n_bytes))
        spans.append(Span(current.name, from_bps, to_bps))
        current, to_bps = following, from_bps
