"""The profile of a deployment whose server is there already: nothing of its network is emulated.

The server holds one of the cuts. Its requests are measured over the real network, once with each codec, so that their
sizes differ; from those follow the round trip and the rate, and with them what every other cut would take. What the
server takes for the other tails is what they take on this machine, by the ratio of the tail that both have run.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path

import numpy as np

from cutlayer.errors import SplitError
from cutlayer.network.profiles import Network
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.cost_model import Request, Transport, fit, typical
from cutlayer.profile.emulated import Check, Profile, Say, observe_all
from cutlayer.profile.plan import Settings
from cutlayer.profile.sampling import Key
from cutlayer.profile.sweep import locally, observe
from cutlayer.split_folder import open_split
from cutlayer.trace import STAGES
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect
from cutlayer.wire.transport import Timeouts
from defenses.base import Defense
from edge.client import Edge
from edge.pipeline import Pipeline


def hosted(candidates: Sequence[Candidate], address: str, settings: Settings) -> Candidate:
    """The cut that the server holds.

    Raises:
        SplitError: It holds none of these.
        WireError: Nobody answers there.
    """
    timeouts = Timeouts()
    transport = connect(address, timeouts, security=settings.security)
    refused = ""
    try:
        for candidate in candidates:
            split = open_split(candidate.folder)
            try:
                Edge(split.manifest, Pipeline(split.head(), Defense(), codec_named("raw")), transport, timeouts)
            except SplitError as error:
                refused = str(error)
            else:
                return candidate
    finally:
        transport.close()
    raise SplitError(
        f"The server at {address} holds none of the {len(candidates)} cuts of this profile; copy one of the folders in "
        f"{candidates[0].folder.parent} there and serve it with `cutlayer cloud`. {refused}"
    )


def profile_connected(
    candidates: Sequence[Candidate], images: Path, address: str, settings: Settings, say: Say
) -> Profile:
    """Measure this device, and the server at the address over the network that leads there.

    Raises:
        SplitError: The server holds none of these cuts.
        WireError: Nobody answers there.
    """
    found = hosted(candidates, address, settings)
    say(f"{found.cut} at {address}")
    reached = observe(found, images, settings, connect=address)
    if len(candidates) == 1:
        # Nothing is to be computed from it, so that a device without a tail can be profiled.
        observed, order = {found.cut: reached}, [found.cut]
    else:
        observed, order = observe_all(candidates, images, settings, say)
    local = None
    if open_split(candidates[-1].folder).has_tail:
        say("the whole model on this device")
        local = locally(candidates[-1], images, settings)
    real = reached.requests
    there = typical(real)
    here = {(cut, codec): r for cut, one in observed.items() for codec, r in typical(one.requests).items()}
    transport = _line([there[codec] for codec in settings.codecs])
    server = float(
        np.median([there[codec].stages["tail"] / here[found.cut, codec].stages["tail"] for codec in settings.codecs])
    )
    network = network_of(address, transport)
    predicted = {key: _predict(request, transport, server) for key, request in here.items()}
    measured = {(found.cut, codec): timed for codec, timed in real.items()}
    return Profile(
        list(observed.values()), order, local, [network], transport, {address: measured}, {address: predicted},
        _leave_one_out(found.cut, address, settings.codecs, there, server), real=True,
    )  # fmt: skip


def network_of(address: str, transport: Transport) -> Network:
    """The network that a fit amounts to, for the record: nothing is computed from it."""
    rate_bps = 8e9 / transport.per_byte_ns if transport.per_byte_ns else inf
    delay_s = transport.fixed_ns / 2e9
    return Network(
        address, float(f"{rate_bps:.3g}"), inf, float(f"{delay_s:.3g}"), source="fitted to what was measured"
    )


def _line(requests: Sequence[Request]) -> Transport:
    return fit([one.n_bytes for one in requests], [one.stages["network"] for one in requests])


def _predict(request: Request, transport: Transport, server: float) -> dict[str, float]:
    stages = {**request.stages, "network": transport.ns(request.n_bytes), "tail": server * request.stages["tail"]}
    return {**stages, "end_to_end": sum(stages[stage] for stage in STAGES)}


def _leave_one_out(
    cut: str, address: str, codecs: Sequence[str], there: dict[str, Request], server: float
) -> list[Check]:
    """Each codec predicted from the others, for with all of them the line would only show how well it bends."""
    if len(codecs) < 3:
        return []
    checks: list[Check] = []
    for codec in codecs:
        line = _line([there[other] for other in codecs if other != codec])
        key: Key = cut, codec
        machines = there[codec].machines_ns
        checks.append((address, key, machines + line.ns(there[codec].n_bytes), sum(there[codec].stages.values())))
    return checks
