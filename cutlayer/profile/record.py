"""A profile as plain data: `profile.json`, from which the table, the CSV, the page and `cutlayer compare` are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cutlayer.machine.identity import machine
from cutlayer.network.shaper import APPLICATION_LEVEL
from cutlayer.profile.advice import Limits, Quality, bandwidth, recommendation
from cutlayer.profile.emulated import Profile
from cutlayer.profile.plan import Settings
from cutlayer.profile.sweep import Observed
from cutlayer.profile.verdict import reasons
from cutlayer.trace import STAGES, percentile

SCHEMA = 1


def stats(samples: ArrayLike) -> dict[str, int | None]:
    """Percentiles that enough samples stand behind, None for the others, and n."""
    values = np.asarray(samples, np.int64)
    return {**{f"p{q}": percentile(values, q) for q in (50, 95, 99)}, "n": len(values)}


def record(
    profile: Profile,
    settings: Settings,
    *,
    model: str,
    images: str,
    limits: Limits | None = None,
    quality: Quality | None = None,
    notes: Sequence[str] = (),
    server: str | None = None,
) -> dict[str, Any]:
    """The whole profile.

    Args:
        profile: What was measured.
        settings: How.
        model: What it is called.
        images: What was sent, in words.
        limits: That the recommendation has to keep.
        quality: Accuracy and leakage, where they were measured.
        notes: What a reader has to know, a sentence each.
        server: Address of the real server, where there was one.
    """
    limits, quality = limits or Limits(), quality or {}
    found = reasons(profile.observed, profile.model_errors)
    places = {cut: place for place, cut in enumerate(profile.order, 1)}
    return {
        "schema": SCHEMA,
        "model": model,
        "verdict": "INVALID" if found else "VALID",
        "reasons": found,
        "notes": list(notes),
        "images": images,
        "settings": {
            "head": settings.head,
            "threads": settings.threads,
            "cores": list(settings.cores) or None,
            "cpu_quota": settings.quota,
            "server_threads": settings.server_threads,
            "transport": settings.transport,
            "seed": settings.seed,
            "server": server or "a process on this machine",
            "network_emulation": None if profile.real else _emulation(profile, settings),
        },
        "machine": machine(),
        "local_ns": None if profile.local is None else stats(profile.local["ns"]),
        "local_peak_rss_bytes": None if profile.local is None else profile.local["peak_rss_bytes"],
        "networks": {
            n.name: {"figures": str(n), "source": n.source, "emulation": profile.labels.get(n.name)}
            for n in profile.networks
        },
        "cost_model": _cost_model(profile),
        "cuts": [_cut(one, profile, quality, places[one.candidate.cut]) for one in profile.observed],
        "recommendations": [recommendation(n.name, profile, limits, quality) for n in profile.networks],
        "limits": {"latency_ns": limits.latency_ns, "leakage": limits.leakage, "accuracy": limits.accuracy},
        "bandwidth": bandwidth(profile, limits, quality),
    }


def _emulation(profile: Profile, settings: Settings) -> str:
    """Who shaped the networks; who would have, where nothing was measured through any."""
    return " and ".join(sorted(set(profile.labels.values()))) or ("tc" if settings.tc else APPLICATION_LEVEL)


def _cut(one: Observed, profile: Profile, quality: Quality, place: int) -> dict[str, Any]:
    candidate, head = one.candidate, one.head
    return {
        "cut": candidate.cut,
        "shape": list(candidate.shape),
        "bytes": candidate.nbytes,
        "params": candidate.params,
        "macs": candidate.macs,
        "measured_as": place,
        "cold_ns": dict(one.opened),
        "peak_rss_bytes": head["peak_rss_bytes"],
        "energy": {"joules": head["joules"], "source": None if head["joules"] is None else "rapl"},
        "quota": head["quota"],
        "temperature_c": head["temperature_c"],
        "clock_hz": head["clock_hz"],
        "held_back": head["held_back"],
        "cpu_share": head["cpu_ns"] / head["wall_ns"],
        "others_share": head["others"],
        "head_ns": stats(head["ns"]),
        "codecs": {
            codec: {
                "bytes": int(np.median(told["bytes"])),
                "message_bytes": int(np.median(one.requests[codec]["message_bytes"])),
                "protect_ns": stats(told["protect_ns"]),
                "encode_ns": stats(told["encode_ns"]),
                "stages_ns": {stage: stats(one.requests[codec][f"{stage}_ns"]) for stage in STAGES},
                # The networks have too few samples for its p95, as a rule; without one there are enough.
                "end_to_end_ns": stats(one.requests[codec]["end_to_end_ns"]),
                **quality.get((candidate.cut, codec), {}),
            }
            for codec, told in one.codecs.items()
        },
        "networks": {network.name: _networks(one, profile, network.name) for network in profile.networks},
    }


def _networks(one: Observed, profile: Profile, network: str) -> dict[str, Any]:
    told = {}
    for codec in one.codecs:
        key = one.candidate.cut, codec
        predicted, timed = profile.predicted[network][key], profile.measured[network].get(key)
        if timed is None:
            latency = {"p50": round(predicted["end_to_end"]), "p95": None, "p99": None, "n": 0}
            stages = {stage: predicted[stage] for stage in STAGES}
        else:
            latency = stats(timed["end_to_end_ns"])
            stages = {stage: float(np.median(timed[f"{stage}_ns"])) for stage in STAGES}
        told[codec] = {
            "end_to_end_ns": latency,
            "source": "model" if timed is None else "measured",
            "stages_ns": stages,
        }
    return told


def _cost_model(profile: Profile) -> dict[str, Any]:
    off = np.abs(profile.model_errors)
    return {
        "fixed_ns": profile.transport.fixed_ns,
        "per_byte_ns": profile.transport.per_byte_ns,
        "points": [
            {"network": network, "cut": cut, "codec": codec, "predicted_ns": predicted, "measured_ns": measured}
            for network, (cut, codec), predicted, measured in profile.checks
        ],
        "shifts_ns": dict(profile.shifts_ns),
        "median_error": float(np.median(off)) if len(off) else None,
        "greatest_error": float(off.max()) if len(off) else None,
    }
