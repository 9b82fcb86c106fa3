"""What the files of a profile say, as frozen data: `profile.json` is written and read by these classes.

Names are those of the JSON, and the values are plain: times in ns, sizes in bytes, leakage gains and accuracies as
parts of 1. A key that is absent from the JSON is a field with a default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cutlayer.machine.throttling import Reading
from cutlayer.records.dataclass_json import INLINE
from cutlayer.records.run import Ceiling, Estimate

SCHEMA = 1

Source = Literal["measured", "model"]
"""Whether a figure was measured, or computed by the cost model."""


@dataclass(frozen=True)
class Times:
    """Percentiles of times in ns; None where too few samples stand behind one. A computed time has `n` = 0."""

    p50: int
    p95: int | None
    p99: int | None
    n: int

    @property
    def percentiles(self) -> dict[str, int | None]:
        """The percentiles by their names."""
        return {name: value for name, value in vars(self).items() if name != "n"}


@dataclass(frozen=True)
class Leakage(Estimate):
    """Leakage gain of the strongest attack, with the name of that attack and the gain of each one by its name."""

    attack: str
    of_each: dict[str, Estimate]


@dataclass(frozen=True)
class Identified(Estimate):
    """Share of inputs that are picked from so many candidates by the attack that does it best, and how it does so.

    The interval is exact; see `cutlayer.records.run.IdentificationRecord`.
    """

    attack: str
    how: str
    candidates: int


@dataclass(frozen=True)
class Quality:
    """Accuracy and leakage of a cut with a codec; None where they were not measured.

    Attributes:
        accuracy: Accuracy of the deployment, with what the codec and the defense change.
        whole_accuracy: Accuracy of the model without any codec or defense.
        leakage: Leakage gain of the strongest attack.
        identified: Share of inputs that are picked from a list, by a watch list or in pixels; None in records of older
            versions.
        ceiling: What no attacker exceeds, with any codec; None in records of older versions.
    """

    accuracy: Estimate | None = None
    whole_accuracy: Estimate | None = None
    leakage: Leakage | None = None
    ceiling: Ceiling | None = None
    identified: Identified | None = None

    @property
    def known(self) -> dict[str, Estimate]:
        """``accuracy``, ``leakage``, ``identified`` where measured, and what no attacker exceeds with one release."""
        first = self.ceiling.over(1) if self.ceiling else None
        estimates = dict[str, Estimate | None](accuracy=self.accuracy, leakage=self.leakage, identified=self.identified)
        if first:
            bounds = {"leakage at most": first.leakage_gain, "identified at most": first.identified}
            estimates |= {name: replace(bound, value=bound.high) for name, bound in bounds.items()}
        return {name: estimate for name, estimate in estimates.items() if estimate is not None}


@dataclass(frozen=True)
class Setup:
    """How the measurements were made.

    Attributes:
        cores: Numbers of the cores that the device's process was pinned to; None when it was not pinned.
        cpu_quota: CPU time per time of the device's process; None when it had no limit.
        server: Address of the real server, or a description of the one on this machine.
        network_emulation: What shaped the networks; None where the network was real.
    """

    head: str
    threads: int
    cores: tuple[int, ...] | None
    cpu_quota: float | None
    server_threads: int
    transport: str
    seed: int
    server: str
    network_emulation: str | None


@dataclass(frozen=True)
class NetworkRecord:
    """A network: its figures as text, their source, and what emulated it (None where nothing was measured).

    `up_bps` is the rate from the device; None where it has no limit, and in records of older versions.
    """

    figures: str
    source: str
    emulation: str | None
    up_bps: float | None = None


@dataclass(frozen=True)
class ModelCheck:
    """A point that was measured, and what the cost model computes for it without having seen it."""

    network: str
    cut: str
    codec: str
    predicted_ns: float
    measured_ns: float

    @property
    def error(self) -> float:
        """Error of the model as a part of what was measured: 0.1 is a tenth too slow."""
        return (self.predicted_ns - self.measured_ns) / self.measured_ns


@dataclass(frozen=True)
class CostModel:
    """The cost model, the points that check it, and its errors as parts of what was measured.

    Attributes:
        fixed_ns: Time that the transport takes for any request.
        per_byte_ns: Time that the transport takes for each byte.
        shifts_ns: Time added to what is computed for a network, by its name.
        median_error: Median size of the errors; None without a point.
        greatest_error: Size of the greatest error; None without a point.
    """

    fixed_ns: float
    per_byte_ns: float
    points: tuple[ModelCheck, ...]
    shifts_ns: dict[str, float]
    median_error: float | None
    greatest_error: float | None


@dataclass(frozen=True)
class ColdStart:
    """Times of a fresh process: until it could work, to open the head, and of the very first inference."""

    start_ns: int
    open_ns: int
    first_ns: int


@dataclass(frozen=True)
class Energy:
    """Energy of one inference, and the meter that counted it; None where there is no meter."""

    joules: float | None
    source: str | None


@dataclass(frozen=True)
class QuotaRecord:
    """The limit on CPU time while the head ran; see `cutlayer.machine.cgroup.Quota`."""

    cpus: float
    source: str
    periods: int
    throttled_periods: int
    throttled_ns: int


@dataclass(frozen=True)
class CodecRecord:
    """One codec on the smashed data of one cut, without any emulated network.

    Attributes:
        bytes: Size of the encoded tensor, in the median.
        message_bytes: Size of the message up with its header, in the median.
        protect_ns: Times of the defense, on the device alone.
        encode_ns: Times of the codec, on the device alone.
        stages_ns: Times of each stage of whole requests.
        end_to_end_ns: Times of whole requests.
        answer_bytes: Size of the answer with its header, in the median; None in records of older versions.
    """

    bytes: int
    message_bytes: int
    protect_ns: Times
    encode_ns: Times
    stages_ns: dict[str, Times]
    end_to_end_ns: Times
    quality: Quality = field(metadata=INLINE)
    answer_bytes: int | None = None


@dataclass(frozen=True)
class RequestRecord:
    """Whole requests of one cut with one codec over one network, with the median of each stage."""

    end_to_end_ns: Times
    source: Source
    stages_ns: dict[str, float]

    @property
    def source_text(self) -> str:
        """The source in words, with the number of requests."""
        return f"measured, n = {self.end_to_end_ns.n}" if self.source == "measured" else "computed"


@dataclass(frozen=True)
class LengthRecord:
    """Sentences of one length at one cut, measured in one round; times in ns are medians.

    Attributes:
        tokens: Number of tokens of each sentence.
        bytes: Size of the smashed data, before any codec.
        head_ns: The head alone.
        n: Number of its runs.
        message_bytes: Size of the message up with its header, by codec.
        end_to_end_ns: Whole requests to a server on this machine without any emulated network, by codec.
        networks_ns: Whole requests over each network as the cost model computes them, by network and codec.
    """

    tokens: int
    bytes: int
    head_ns: int
    n: int
    message_bytes: dict[str, int]
    end_to_end_ns: dict[str, int]
    networks_ns: dict[str, dict[str, float]]


@dataclass(frozen=True)
class CutRecord:
    """Everything about one cut on the device; None where a figure is not known or cannot be read.

    Attributes:
        shape: Shape of the smashed data of one sample.
        bytes: Size of the smashed data of one sample, before any codec.
        params: Parameters of the head.
        macs: Multiply-accumulates of the head for one sample.
        measured_as: Place in the random order of the measurements, from 1.
        cold_ns: The start of its process.
        peak_rss_bytes: Peak memory of its process.
        energy: Energy of one inference of the head.
        quota: Limit on CPU time, and what it did.
        temperature_c: Temperature of the hottest sensor.
        clock_hz: Clock of the slowest core.
        held_back: What held the machine back while the head ran, in words.
        cpu_share: CPU time of the process for each second that passed.
        others_share: Share of all cores that other processes took.
        head_ns: Times of the head alone.
        codecs: Measurements with each codec, by its name.
        networks: Requests by the name of the network and that of the codec.
        head_file_bytes: Size of the file of the head.
        tail_file_bytes: Size of the file of the tail, which a device without it need not hold.
        rounds: Number of rounds in which the cut was measured; None in records of older versions.
        disturbed: What disturbed those rounds that were disturbed, in words. They count only where too few others are.
        lengths: Sentences of each length that was asked for.
    """

    cut: str
    shape: tuple[int, ...]
    bytes: int
    params: int | None
    macs: int | None
    measured_as: int
    cold_ns: ColdStart
    peak_rss_bytes: int
    energy: Energy
    quota: QuotaRecord | None
    temperature_c: Reading | None
    clock_hz: Reading | None
    held_back: tuple[str, ...]
    cpu_share: float
    others_share: float
    head_ns: Times
    codecs: dict[str, CodecRecord]
    networks: dict[str, dict[str, RequestRecord]]
    head_file_bytes: int | None = None
    tail_file_bytes: int | None = None
    rounds: int | None = None
    disturbed: tuple[str, ...] = ()
    lengths: tuple[LengthRecord, ...] = ()

    def fastest(self, network: str) -> tuple[str, RequestRecord]:
        """The codec with the smallest end-to-end p50 over a network, and its requests."""
        return min(self.networks[network].items(), key=lambda item: item[1].end_to_end_ns.p50)


@dataclass(frozen=True)
class CutAndCodec:
    """A choice, by its names."""

    cut: str
    codec: str


@dataclass(frozen=True)
class Choice(CutAndCodec):
    """One way to deploy the model on one network; leakage and accuracy are None where they were not measured.

    Attributes:
        n_bytes: Size of the message up with its header.
        latency_ns: End-to-end p50.
        off_ns: How far off the latency may be: half of the 95 % interval of what was measured, or the typical error
            of the cost model.
        leakage: Leakage gain of the strongest attack, up to 1.
    """

    n_bytes: float
    latency_ns: float
    off_ns: float
    source: Source
    leakage: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Alternative(CutAndCodec):
    """A choice that the measurements do not tell apart from the best one."""

    latency_ns: float


@dataclass(frozen=True)
class Recommendation:
    """What to do on one network.

    Attributes:
        best: The fastest choice within the limits; None when there is none.
        as_good: Choices that are not told apart from the best one, in the order of latency.
        why_none: Why there is no best choice, in a sentence; None when there is one.
        device_alone_ns: Time of the whole model on the device; None where it is unknown or breaks a limit.
        pareto: Choices that no other beats in everything, in the order of latency.
        device_alone_off_ns: How far off that time may be: half of its 95 % interval.
    """

    network: str
    best: Choice | None
    as_good: tuple[Alternative, ...]
    why_none: str | None
    device_alone_ns: float | None
    pareto: tuple[CutAndCodec, ...]
    device_alone_off_ns: float = 0.0

    @property
    def faster(self) -> str | None:
        """``alone`` or ``split``, whichever is faster, or ``even``; None where one of the two is not known."""
        if self.best is None or self.device_alone_ns is None:
            return None
        more_ns = self.best.latency_ns - self.device_alone_ns
        if abs(more_ns) <= math.hypot(self.best.off_ns, self.device_alone_off_ns):
            return "even"
        return "alone" if more_ns > 0 else "split"


@dataclass(frozen=True)
class Limits:
    """Greatest latency and leakage gain and least accuracy of a recommended choice; None sets no limit."""

    latency_ns: float | None
    leakage: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Line:
    """Latency of one choice against bandwidth: ``fixed_ns + 8e9 * n_bytes / bps``, `n_bytes` being up and down."""

    name: str
    fixed_ns: float
    n_bytes: float

    def ns(self, bps: float) -> float:
        """The latency at a rate in bits per second, above 0; it may be infinite."""
        return self.fixed_ns + 8e9 * self.n_bytes / bps


@dataclass(frozen=True)
class Span:
    """The choice that is the fastest from one rate to another, in bits per second; None is no limit."""

    choice: str
    from_bps: float
    to_bps: float | None


@dataclass(frozen=True)
class Bandwidth:
    """The choices within the limits as lines, and the fastest one from the lowest rate to the highest.

    `round_trip_included` says whether the lines include the round trip of the network, which is the same for all.
    """

    round_trip_included: bool
    lines: tuple[Line, ...]
    best: tuple[Span, ...]


@dataclass(frozen=True)
class Profile:
    """`profile.json`.

    Attributes:
        model: Model that the user named.
        verdict: Whether the figures can be believed: ``VALID``, ``INVALID``, or ``INCOMPLETE`` where not all is there.
        reasons: Why not, a sentence each.
        notes: What a reader has to know, a sentence each.
        images: What was sent, in words.
        settings: How the measurements were made.
        machine: The machine, as `cutlayer.machine.identity.machine` describes it.
        local_ns: Times of the whole model on the device; None where the device has no tail.
        local_peak_rss_bytes: Peak memory of that process.
        networks: The networks by name, in the order that the user gave.
        cuts: The cuts, in the order of the model.
        recommendations: One for each network.
        local_energy: Energy of one inference of the whole model on the device; None where it was not run there.
        rounds: Number of rounds of all measurements together; None in records of older versions.
        set_aside: Number of disturbed rounds among them that count for nothing, because others were made.
    """

    schema: int
    model: str
    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    images: str
    settings: Setup
    machine: dict[str, Any]
    local_ns: Times | None
    local_peak_rss_bytes: int | None
    networks: dict[str, NetworkRecord]
    cost_model: CostModel
    cuts: tuple[CutRecord, ...]
    recommendations: tuple[Recommendation, ...]
    limits: Limits
    bandwidth: Bandwidth
    local_energy: Energy | None = None
    rounds: int | None = None
    set_aside: int = 0

    @property
    def codecs(self) -> tuple[str, ...]:
        """Names of the codecs, in the order that the user gave; every cut has the same ones."""
        return tuple(self.cuts[0].codecs)

    @property
    def quality_names(self) -> list[str]:
        """The names of the estimates that are known of any choice."""
        return [*dict.fromkeys(n for cut in self.cuts for codec in cut.codecs.values() for n in codec.quality.known)]
