"""From measurements to the record of a profile: verdict, recommendations and every figure of `profile.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isinf

import numpy as np
from numpy.typing import ArrayLike

from cutlayer.machine.identity import machine
from cutlayer.network.shaper import APPLICATION_LEVEL
from cutlayer.percentiles import percentiles
from cutlayer.profile.advice import bandwidth, recommend
from cutlayer.profile.lengths import length_record
from cutlayer.profile.measure import CutMeasurements
from cutlayer.profile.plan import Plan, Settings
from cutlayer.profile.sampling import Key
from cutlayer.profile.taken import Measurements
from cutlayer.profile.timing import Timing
from cutlayer.profile.verdict import faults
from cutlayer.records import profile as records
from cutlayer.records.profile import Limits, Quality, Times
from cutlayer.registry import MODELS
from cutlayer.split_folder import open_split
from cutlayer.trace import STAGES


def record(
    measurements: Measurements,
    plan: Plan,
    settings: Settings,
    limits: Limits,
    quality: Mapping[Key, Quality],
    *,
    images: str,
    notes: Sequence[str],
    ended: str | None = None,
) -> records.Profile:
    """The whole record; `images` is what was sent, in words, and each note a sentence that a reader has to know.

    `ended` is a sentence on why the profile ended before all was measured, None where it did not.
    """
    rounds = measurements.taken.rounds
    reasons = faults(measurements.cuts.values(), rounds, measurements.model_errors)
    verdict = "INVALID" if reasons else "VALID"
    if ended is not None:
        verdict, reasons = "INCOMPLETE", [ended, *reasons]
    local, labels = measurements.local, measurements.labels
    # What shaped the networks, or would have where nothing was measured through any.
    emulation = " and ".join(sorted(set(labels.values()))) or ("tc" if settings.tc else APPLICATION_LEVEL)
    return records.Profile(
        schema=records.SCHEMA,
        model=MODELS.label(plan.model),
        verdict=verdict,
        reasons=tuple(reasons),
        notes=tuple(notes),
        images=images,
        settings=records.Setup(
            head=settings.head, threads=settings.threads, cores=settings.cores or None, cpu_quota=settings.quota,
            server_threads=settings.server_threads, transport=settings.transport, seed=settings.seed,
            server=plan.connect or "a process on this machine",
            network_emulation=None if measurements.real else emulation,
        ),
        machine=machine(),
        local_ns=None if local is None else _times(local.ns),
        local_peak_rss_bytes=None if local is None else local.peak_rss_bytes,
        networks={
            network.name: records.NetworkRecord(
                str(network), network.source, labels.get(network.name),
                None if isinf(network.up_bps) else network.up_bps,
            )
            for network in measurements.networks
        },
        cost_model=_cost_model(measurements),
        cuts=tuple(_cut(name, measurements, quality) for name in measurements.cuts),
        recommendations=tuple(recommend(measurements, n.name, limits, quality) for n in measurements.networks),
        limits=limits,
        bandwidth=bandwidth(measurements, limits, quality),
        local_energy=None if local is None else _energy(local),
        rounds=sum(len(of_one.taken) for of_one in rounds.values()),
        set_aside=sum(len(of_one.set_aside) for of_one in rounds.values() if of_one.enough),
    )  # fmt: skip


def _energy(timing: Timing) -> records.Energy:
    return records.Energy(timing.joules, None if timing.joules is None else "rapl")


def _times(samples: ArrayLike) -> Times:
    values = np.asarray(samples, np.int64)
    known = percentiles(values)
    assert known["p50"] is not None
    return Times(known["p50"], known["p95"], known["p99"], len(values))


def _cut(name: str, measurements: Measurements, quality: Mapping[Key, Quality]) -> records.CutRecord:
    cut = measurements.cuts[name]
    candidate, head, split = cut.candidate, cut.head, open_split(cut.candidate.folder)
    order = list(measurements.taken.cuts) or [name]
    return records.CutRecord(
        cut=name, shape=candidate.shape, bytes=candidate.nbytes, params=candidate.params, macs=candidate.macs,
        measured_as=order.index(name) + 1, cold_ns=cut.cold, peak_rss_bytes=head.peak_rss_bytes,
        energy=_energy(head), quota=head.quota,
        temperature_c=head.temperature_c, clock_hz=head.clock_hz, held_back=head.held_back, cpu_share=head.cpu_share,
        others_share=head.others, head_ns=_times(head.ns),
        codecs={codec: _codec(cut, codec, quality.get((name, codec), Quality())) for codec in cut.codecs},
        networks={
            network.name: {codec: _requests(measurements, network.name, (name, codec)) for codec in cut.codecs}
            for network in measurements.networks
        },
        head_file_bytes=split.head_file_bytes, tail_file_bytes=split.tail_file_bytes,
        rounds=len(cut.rounds.taken), disturbed=tuple(cut.rounds.set_aside),
        lengths=tuple(
            length_record(
                one, measurements.transport, measurements.networks, candidate.nbytes // candidate.shape[0]
            )
            for one in measurements.taken.lengths.get(name, ())
        ),
    )  # fmt: skip


def _codec(cut: CutMeasurements, codec: str, quality: Quality) -> records.CodecRecord:
    timing, requests = cut.codecs[codec], cut.requests[codec]
    return records.CodecRecord(
        bytes=int(np.median(timing["bytes"])),
        message_bytes=int(np.median(requests["message_bytes"])),
        protect_ns=_times(timing["protect_ns"]),
        encode_ns=_times(timing["encode_ns"]),
        stages_ns={stage: _times(requests[f"{stage}_ns"]) for stage in STAGES},
        # As a rule, there are too few samples for a p95 through the networks, and enough without one.
        end_to_end_ns=_times(requests["end_to_end_ns"]),
        quality=quality,
        answer_bytes=int(np.median(requests["answer_bytes"])),
    )


def _requests(measurements: Measurements, network: str, key: Key) -> records.RequestRecord:
    columns = measurements.measured[network].get(key)
    if columns is None:
        stages = measurements.predicted[network][key]
        times = Times(p50=round(stages["end_to_end"]), p95=None, p99=None, n=0)
        return records.RequestRecord(times, "model", {stage: stages[stage] for stage in STAGES})
    medians = {stage: float(np.median(columns[f"{stage}_ns"])) for stage in STAGES}
    return records.RequestRecord(_times(columns["end_to_end_ns"]), "measured", medians)


def _cost_model(measurements: Measurements) -> records.CostModel:
    sizes = np.abs(measurements.model_errors)
    return records.CostModel(
        fixed_ns=measurements.transport.fixed_ns,
        per_byte_ns=measurements.transport.per_byte_ns,
        points=tuple(measurements.checks),
        shifts_ns=dict(measurements.shifts_ns),
        median_error=float(np.median(sizes)) if len(sizes) else None,
        greatest_error=float(sizes.max()) if len(sizes) else None,
    )
