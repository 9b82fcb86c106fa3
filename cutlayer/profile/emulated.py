"""The profile of a deployment on this machine: every cut measured, networks emulated, the rest computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cutlayer.network.profiles import Network
from cutlayer.profile.cost_model import fit, predict, shift
from cutlayer.profile.measure import measure_cut, measure_local
from cutlayer.profile.plan import Say, Settings
from cutlayer.profile.points import Point, measure_points
from cutlayer.profile.rounds import joined
from cutlayer.profile.sampling import NETWORK_S, TURNS, Key, choose_points, p50
from cutlayer.profile.taken import Measurements, Taken, off_ns, typical_requests
from cutlayer.progress import track, words
from cutlayer.records.profile import ModelCheck
from cutlayer.trace import Columns


def measure_emulated(
    taken: Taken,
    images: Path,
    networks: Sequence[Network],
    settings: Settings,
    say: Say,
    may_recommend: Callable[[Key], bool],
) -> None:
    """Measure on this machine, through emulated networks; the time goes to the choices that may be recommended.

    What is measured is in `taken` at once, so that an error leaves what came before it.

    Raises:
        CutlayerError: A cut cannot be run.
    """
    shaping = [network for network in networks if network.shapes]
    through = ", ".join(network.name for network in shaping)
    then = f", then up to {NETWORK_S:.0f} s through each of {through}" if shaping else ""
    n = len(taken.candidates)
    say(f"measuring {n} cut{'s'[: n > 1]} and the whole model, each by itself{then}")
    measure_all(taken, images, settings, say)
    say("the whole model on this device")
    taken.local = measure_local(taken.candidates[-1], images, settings)
    for turn in range(TURNS):
        now, points = computed(taken, networks), []
        for place, network in enumerate(shaping):
            seed = [settings.seed, place]
            chosen = choose_points(now.predicted[network.name], now.measured[network.name], may_recommend, seed)
            points += [Point(now.cuts[cut].candidate, codec, network, n, s) for (cut, codec), n, s in chosen]
        if points:
            seconds = sum(point.samples * point.expected_s for point in points)
            choices = "1 choice" if len(points) == 1 else f"{len(points)} choices"
            say(f"turn {turn + 1} of {TURNS} through the networks: {choices}, at least {words(seconds)}")
        for place, (point, measured) in enumerate(measure_points(points, images, settings), 1):
            cut, codec, name = point.candidate.cut, point.codec, point.network.name
            say(f"{place} of {len(points)}: {cut} with {codec} over {name}")
            taken.points.setdefault(name, {})[cut, codec] = measured


def computed(taken: Taken, networks: Sequence[Network]) -> Measurements:
    """What was measured so far, and the rest by the cost model."""
    cuts = taken.in_order
    requests = typical_requests(cuts)
    transport = fit(requests.values())
    model = {
        network.name: {key: predict(request, transport, network) for key, request in requests.items()}
        for network in networks
    }
    points = {network.name: taken.points.get(network.name, {}) for network in networks}
    # What was measured without a network counts for those that shape nothing.
    unshaped = {(cut, codec): columns for cut, of_cut in cuts.items() for codec, columns in of_cut.requests.items()}
    measured: dict[str, dict[Key, Columns]] = {
        network.name: {key: point.requests for key, point in points[network.name].items()}
        if network.shapes
        else unshaped
        for network in networks
    }
    checks = [
        ModelCheck(name, *key, model[name][key]["end_to_end"], p50(point.requests))
        for name, of_network in points.items()
        for key, point in of_network.items()
    ]
    shifts = {network.name: off_ns(checks, network.name) for network in networks}
    return Measurements(
        taken=taken, cuts=cuts, networks=networks, transport=transport, requests=requests, measured=measured,
        predicted={
            name: {key: shift(stages, shifts[name]) for key, stages in by_key.items()} for name, by_key in model.items()
        },
        checks=checks, shifts_ns=shifts,
        labels={name: point.label for name, of_network in points.items() for point in of_network.values()},
    )  # fmt: skip


def measure_all(taken: Taken, images: Path, settings: Settings, say: Say) -> None:
    """Measure all cuts, in random order, and those whose rounds were disturbed once more.

    The order is random so that a change of the machine over the minutes does not look like a difference between cuts.
    """
    candidates = taken.candidates
    order = [candidates[index] for index in np.random.default_rng(settings.seed).permutation(len(candidates))]
    for place, candidate in enumerate(track(order, "measuring the cuts"), 1):
        say(f"{place} of {len(order)}: {candidate.cut}")
        taken.cuts[candidate.cut] = measure_cut(candidate, images, settings)
    disturbed = [candidate for candidate in order if not taken.cuts[candidate.cut].rounds.enough]
    if len(disturbed) > len(order) / 2:
        # A machine that is always busy would be so again.
        return
    for candidate in track(disturbed, "measuring the disturbed cuts again"):
        first = taken.cuts[candidate.cut]
        say(f"{candidate.cut} again, because {len(first.rounds.set_aside)} of its rounds were disturbed")
        again = measure_cut(candidate, images, settings)
        taken.cuts[candidate.cut] = replace(first, rounds=joined(first.rounds, again.rounds))
