"""The profile of a deployment with a real server: nothing of its network is emulated.

The server holds one of the cuts. Its requests are measured over the real network, once with each codec, so that their
sizes differ; from these follow the round trip and the rate, and from these the time of every other cut. The server's
time for the other tails is their time on this machine, times the ratio of the two times for the tail that both ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from math import inf
from pathlib import Path

import numpy as np

from cutlayer.defenses.base import Defense
from cutlayer.edge.client import Edge
from cutlayer.edge.pipeline import Pipeline
from cutlayer.errors import SplitError
from cutlayer.network.profiles import Network
from cutlayer.profile.cost_model import Request, Transport, fit, typical
from cutlayer.profile.emulated import measure_all
from cutlayer.profile.measure import measure_cut, measure_local
from cutlayer.profile.plan import Say, Settings
from cutlayer.profile.prepare import Candidate
from cutlayer.profile.taken import Measurements, Taken, typical_requests
from cutlayer.records.profile import ModelCheck
from cutlayer.split_folder import open_split
from cutlayer.trace import STAGES
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect
from cutlayer.wire.transport import Timeouts


def hosted(candidates: Sequence[Candidate], address: str, settings: Settings) -> Candidate:
    """The candidate that the server holds.

    Raises:
        SplitError: The server holds none of these cuts.
        WireError: No server answers at the address.
    """
    timeouts = Timeouts()
    refused = ""
    with closing(connect(address, timeouts, security=settings.security)) as transport:
        for candidate in candidates:
            split = open_split(candidate.folder)
            try:
                Edge(split.manifest, Pipeline(split.head(), Defense(), codec_named("raw")), transport, timeouts)
            except SplitError as error:
                refused = str(error)
            else:
                return candidate
    raise SplitError(
        f"The server at {address} holds none of the {len(candidates)} cuts of this profile; copy one of the folders in "
        f"{candidates[0].folder.parent} there and serve it with `cutlayer cloud`. {refused}"
    )


def measure_connected(taken: Taken, images: Path, address: str, settings: Settings, say: Say) -> None:
    """Measure this device, and the server at the address over the network between them, into `taken`.

    Raises:
        SplitError: The server holds none of these cuts.
        WireError: No server answers at the address.
    """
    candidate = hosted(taken.candidates, address, settings)
    say(f"{candidate.cut} at {address}")
    taken.remote = measure_cut(candidate, images, settings, connect=address)
    if len(taken.candidates) > 1:
        # Otherwise there is no other cut to compute, so that a device without a tail can be profiled.
        measure_all(taken, images, settings, say)
    if open_split(taken.candidates[-1].folder).has_tail:
        say("the whole model on this device")
        taken.local = measure_local(taken.candidates[-1], images, settings)


def computed(taken: Taken, address: str) -> Measurements:
    """What was measured so far, and the other cuts as they would be with the server at the address."""
    assert taken.remote is not None
    cut, remote = taken.remote.candidate.cut, typical(taken.remote.requests)
    known = {cut: taken.remote} | taken.cuts
    cuts = {candidate.cut: known[candidate.cut] for candidate in taken.candidates if candidate.cut in known}
    requests, transport = typical_requests(cuts), fit(remote.values())
    tail_ratio = float(
        np.median([request.stages["tail"] / requests[cut, codec].stages["tail"] for codec, request in remote.items()])
    )
    # The network that the fitted transport describes is for the record: nothing is computed from it.
    rate_bps = 8e9 / transport.per_byte_ns if transport.per_byte_ns else inf
    up_bps, delay_s = (float(f"{figure:.3g}") for figure in (rate_bps, transport.fixed_ns / 2e9))
    network = Network(address, up_bps, inf, delay_s, source="fitted to what was measured")
    measured = {(cut, codec): columns for codec, columns in taken.remote.requests.items()}
    predicted = {key: _predict(request, transport, tail_ratio) for key, request in requests.items()}
    return Measurements(
        taken=taken, cuts=cuts, networks=[network], transport=transport, requests=requests,
        measured={address: measured}, predicted={address: predicted}, checks=_leave_one_out(cut, address, remote),
        real=True,
    )  # fmt: skip


def _predict(request: Request, transport: Transport, tail_ratio: float) -> dict[str, float]:
    stages = {**request.stages, "network": transport.ns(request.n_bytes), "tail": tail_ratio * request.stages["tail"]}
    return {**stages, "end_to_end": sum(stages[stage] for stage in STAGES)}


def _leave_one_out(cut: str, address: str, remote: Mapping[str, Request]) -> list[ModelCheck]:
    """Each codec predicted from the others: a line through all of them would not be a prediction."""
    if len(remote) < 3:
        return []
    checks = []
    for codec, request in remote.items():
        transport = fit(other for name, other in remote.items() if name != codec)
        predicted_ns = request.machines_ns + transport.ns(request.n_bytes)
        checks.append(ModelCheck(address, cut, codec, predicted_ns, sum(request.stages.values())))
    return checks
