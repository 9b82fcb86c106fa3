"""From measurements to the record of a profile: verdict, recommendations and every figure of `profile.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from cutlayer.machine.identity import machine
from cutlayer.network.shaper import APPLICATION_LEVEL
from cutlayer.profile.advice import bandwidth, recommend
from cutlayer.profile.emulated import Measurements
from cutlayer.profile.measure import CutMeasurements
from cutlayer.profile.plan import Settings
from cutlayer.profile.sampling import Key
from cutlayer.profile.verdict import faults
from cutlayer.records.profile import (
    SCHEMA,
    CodecRecord,
    CostModel,
    CutRecord,
    Energy,
    Limits,
    NetworkRecord,
    Profile,
    Quality,
    RequestRecord,
    Setup,
    Times,
)
from cutlayer.trace import STAGES, percentiles


def record(
    measurements: Measurements,
    settings: Settings,
    *,
    model: str,
    images: str,
    limits: Limits,
    quality: Mapping[Key, Quality],
    notes: Sequence[str],
    server: str | None,
) -> Profile:
    """The whole record.

    Args:
        measurements: Everything that was measured.
        settings: How it was measured.
        model: Model that the user named.
        images: What was sent, in words.
        limits: What a recommended choice has to keep.
        quality: Accuracy and leakage of the choices of which they were measured.
        notes: What a reader has to know, a sentence each.
        server: Address of the real server; None where the server was a process on this machine.
    """
    reasons = faults(measurements.cuts.values(), measurements.model_errors)
    local = measurements.local
    return Profile(
        schema=SCHEMA,
        model=model,
        verdict="INVALID" if reasons else "VALID",
        reasons=tuple(reasons),
        notes=tuple(notes),
        images=images,
        settings=Setup(
            head=settings.head, threads=settings.threads, cores=settings.cores or None, cpu_quota=settings.quota,
            server_threads=settings.server_threads, transport=settings.transport, seed=settings.seed,
            server=server or "a process on this machine",
            network_emulation=None if measurements.real else _emulation(measurements, settings),
        ),
        machine=machine(),
        local_ns=None if local is None else _times(local.ns),
        local_peak_rss_bytes=None if local is None else local.peak_rss_bytes,
        networks={
            network.name: NetworkRecord(str(network), network.source, measurements.labels.get(network.name))
            for network in measurements.networks
        },
        cost_model=_cost_model(measurements),
        cuts=tuple(_cut(name, measurements, quality) for name in measurements.cuts),
        recommendations=tuple(recommend(measurements, n.name, limits, quality) for n in measurements.networks),
        limits=limits,
        bandwidth=bandwidth(measurements, limits, quality),
    )  # fmt: skip


def _times(samples: ArrayLike) -> Times:
    values = np.asarray(samples, np.int64)
    known = percentiles(values)
    assert known["p50"] is not None
    return Times(known["p50"], known["p95"], known["p99"], len(values))


def _emulation(measurements: Measurements, settings: Settings) -> str:
    """What shaped the networks, or would have where nothing was measured through any."""
    return " and ".join(sorted(set(measurements.labels.values()))) or ("tc" if settings.tc else APPLICATION_LEVEL)


def _cut(name: str, measurements: Measurements, quality: Mapping[Key, Quality]) -> CutRecord:
    cut = measurements.cuts[name]
    candidate, head = cut.candidate, cut.head
    return CutRecord(
        cut=name,
        shape=candidate.shape,
        bytes=candidate.nbytes,
        params=candidate.params,
        macs=candidate.macs,
        measured_as=measurements.order.index(name) + 1,
        cold_ns=cut.cold,
        peak_rss_bytes=head.peak_rss_bytes,
        energy=Energy(head.joules, None if head.joules is None else "rapl"),
        quota=head.quota,
        temperature_c=head.temperature_c,
        clock_hz=head.clock_hz,
        held_back=head.held_back,
        cpu_share=head.cpu_share,
        others_share=head.others,
        head_ns=_times(head.ns),
        codecs={codec: _codec(cut, codec, quality.get((name, codec), Quality())) for codec in cut.codecs},
        networks={
            network.name: {codec: _requests(measurements, network.name, (name, codec)) for codec in cut.codecs}
            for network in measurements.networks
        },
    )


def _codec(cut: CutMeasurements, codec: str, quality: Quality) -> CodecRecord:
    timing, requests = cut.codecs[codec], cut.requests[codec]
    return CodecRecord(
        bytes=int(np.median(timing["bytes"])),
        message_bytes=int(np.median(requests["message_bytes"])),
        protect_ns=_times(timing["protect_ns"]),
        encode_ns=_times(timing["encode_ns"]),
        stages_ns={stage: _times(requests[f"{stage}_ns"]) for stage in STAGES},
        # As a rule, there are too few samples for a p95 through the networks, and enough without one.
        end_to_end_ns=_times(requests["end_to_end_ns"]),
        quality=quality,
    )


def _requests(measurements: Measurements, network: str, key: Key) -> RequestRecord:
    columns = measurements.measured[network].get(key)
    if columns is None:
        stages = measurements.predicted[network][key]
        times = Times(p50=round(stages["end_to_end"]), p95=None, p99=None, n=0)
        return RequestRecord(times, "model", {stage: stages[stage] for stage in STAGES})
    medians = {stage: float(np.median(columns[f"{stage}_ns"])) for stage in STAGES}
    return RequestRecord(_times(columns["end_to_end_ns"]), "measured", medians)


def _cost_model(measurements: Measurements) -> CostModel:
    sizes = np.abs(measurements.model_errors)
    return CostModel(
        fixed_ns=measurements.transport.fixed_ns,
        per_byte_ns=measurements.transport.per_byte_ns,
        points=tuple(measurements.checks),
        shifts_ns=dict(measurements.shifts_ns),
        median_error=float(np.median(sizes)) if len(sizes) else None,
        greatest_error=float(sizes.max()) if len(sizes) else None,
    )
