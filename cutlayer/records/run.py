"""The content of a `result.json` as frozen data: these classes write and read it, and their fields are its keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any

from cutlayer.records.dataclass_json import INLINE, load

EXPERIMENT = "experiment.toml"
RESULT = "result.json"
SCHEMA = 1

Percentiles = dict[str, int | None]
"""Times in ns by the names in `cutlayer.trace.PERCENTILES`; None where too few samples stand behind one."""


@dataclass(frozen=True)
class Estimate:
    """A measured value and how sure it is.

    Attributes:
        value: The value for the samples at hand; NaN where it is unknown.
        n: Number of samples.
        low: Lower end of the 95 % interval; NaN where there is none, as for one sample.
        high: Upper end of the interval.
        infinite: Number of further samples whose score is infinite, such as the PSNR of an exact copy. Nothing else
            counts them: an infinite score would hide all others.
    """

    value: float
    n: int
    low: float
    high: float
    infinite: int = field(default=0, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """How near the vectors that a server answers behind a defense stay to those of the whole model without one.

    Attributes:
        cosine: Mean cosine between the two vectors of a test input.
        same_nearest: Share of the test inputs whose nearest other test input, by cosine, stays the same; None for one
            input alone.
        apart: Mean cosine between the vectors of two different test inputs without a defense: what a cosine has to be
            compared with.
    """

    cosine: Estimate
    same_nearest: Estimate | None
    apart: float


@dataclass(frozen=True)
class Utility:
    """How useful the answers to test inputs are: how many are right, or how near vectors stay.

    Attributes:
        accuracy: With the defense; None where the answers are vectors, which are neither right nor wrong.
        baseline: Without any, of the same model after `further_epochs` more; None of vectors.
        change: The first less the second, input by input; None in records of the first version. Of vectors it is the
            cosine less 1.
        further_epochs: Passes over the training part in which the defense trained the model, or its tail. The baseline
            got as many.
        vectors: Where the answers are vectors, how near they stay; None otherwise.
    """

    accuracy: Estimate | None = None
    baseline: Estimate | None = None
    change: Estimate | None = None
    further_epochs: int = 0
    vectors: Vectors | None = None

    @property
    def name(self) -> str:
        """What `figure` is: ``accuracy`` or ``cosine``."""
        return "cosine" if self.vectors else "accuracy"

    @property
    def figure(self) -> Estimate:
        """The accuracy, or the cosine of vectors; NaN of 0 samples where a damaged record has neither."""
        known = self.vectors.cosine if self.vectors else self.accuracy
        return known or Estimate(nan, 0, nan, nan)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Values of the literature by the name of the metric, and where they stand."""

    values: dict[str, float] = field(metadata=INLINE)
    source: str


@dataclass(frozen=True, kw_only=True)
class ColumnRecord:
    """How often a column of a table was read rightly: a word, or a number within the tolerance of its column.

    Attributes:
        name: Name of the column.
        right: The share of the rows in which the attack is right.
        guessed: The share of the rows in which the floor is right, which sees nothing.
    """

    name: str
    right: Estimate
    guessed: float


@dataclass(frozen=True, kw_only=True)
class AttackRecord:
    """What one attack achieved on one deployment.

    Attributes:
        label: Title of the attack with its options.
        access: Name of the access that it needs, as in `cutlayer.attacks.view.Access`.
        n_releases: Releases of one input that it observed.
        n: Number of reconstructions.
        metrics: Mean score by the name of the metric.
        leakage_gain: Share of the mean image's error that it removed.
        published: Values of the literature for this attack and cut; None where the plan states none.
        columns: How often each column of a table was read rightly, in their order; none where the inputs are no rows.
    """

    attack: str
    label: str
    access: str
    deployment: str
    n_releases: int
    fit_s: float
    invert_s: float
    n: int
    metrics: dict[str, Estimate]
    leakage_gain: Estimate
    published: Published | None = None
    columns: tuple[ColumnRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class IdentificationRecord:
    """How often one attack on one deployment picks the input that was sent from a list of candidates.

    Attributes:
        label: Title of the attack with its options.
        access: Name of the access that it needs, as in `cutlayer.attacks.view.Access`.
        n_releases: Releases of one input that it observed.
        how: ``watch list``: the attack scores the candidates itself, by their own smashed data; ``pixels``: its
            reconstruction is compared with them.
        candidates: Number of candidates, the true one among them.
        top_1: Share of the inputs whose true candidate comes first, with its exact interval (Clopper and Pearson).
        top_10: Share of those whose true candidate is among the first ten.
        ranks: Ranks of the curve, ascending: from 1 to the number of candidates.
        curve: Share of the inputs whose true candidate is among the first so many, for each of the ranks (the
            cumulative match characteristic).
        seconds: Time that a watch list took here, with its fit on the first deployment; 0 where reconstructions were
            compared, and in records of older versions.
    """

    attack: str
    label: str
    access: str
    deployment: str
    n_releases: int
    how: str
    candidates: int
    top_1: Estimate
    top_10: Estimate
    ranks: tuple[int, ...] = ()
    curve: tuple[float, ...] = ()
    seconds: float = 0.0


WATCH_LIST, PIXELS = "watch list", "pixels"
"""The two ways to identify an input."""
LEAST_CANDIDATES = 10
"""Candidates from which on it says something that an input is picked from them: chance alone picks one of so many."""


def most_identified(records: Iterable[IdentificationRecord]) -> IdentificationRecord | None:
    """The one that identifies most inputs, of equals the first; None where there is none."""
    return max(records, key=lambda found: (found.top_1.value, found.top_10.value), default=None)


@dataclass(frozen=True, kw_only=True)
class FailedAttack:
    """An attack that gave no reconstruction on some deployment, so that it has no figure.

    Attributes:
        label: Title of the attack with its options.
        access: Name of the access that it needs, as in `cutlayer.attacks.view.Access`.
        reason: What went wrong, a sentence.
    """

    attack: str
    label: str
    access: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Words:
    """What an attack or a metric of the user's own says of itself, so that a report needs nothing but the record.

    Attributes:
        name: Name in the record, of the attack or the metric.
        explanation: An attack's plain words, or a metric's explanation; the others are those of
            `cutlayer.metrics.base.Metric`.
    """

    name: str
    explanation: str = ""
    title: str = ""
    unit: str = ""
    digits: int = 3
    factor: float = 1.0
    leak_when: str = ""


@dataclass(frozen=True)
class WorstCase:
    """The attack that leaks most, over all attacks and deployments; the fields are those of its `AttackRecord`."""

    attack: str
    label: str
    deployment: str
    access: str
    n_releases: int
    leakage_gain: Estimate
    metrics: dict[str, Estimate] = field(metadata=INLINE)


@dataclass(frozen=True)
class Passed:
    """The directions that a head passes on.

    Attributes:
        passed: Number of directions.
        condition: How many times fainter the faintest of them is than the strongest.
        largest: Change of the smashed data per change of the image, in the strongest direction.
    """

    passed: float
    condition: float
    largest: float


@dataclass(frozen=True)
class Spectrum:
    """Singular values of the head's Jacobian, medians over n images.

    Attributes:
        directions: Number of directions in which an image was changed.
        variance: Share of the images' variance that the directions hold.
        head: What the head passes on.
        undefended: What it passes on without the defense.
    """

    n: int
    directions: int
    variance: float
    head: Passed
    undefended: Passed


@dataclass(frozen=True)
class CeilingAt:
    """What nobody exceeds who observes this many releases of one input; the ends of intervals hold with 95 % each.

    Attributes:
        identified: How often the best guess is the true candidate; n is the number of simulated guesses.
        leakage_gain: That of the reconstruction with the least mean squared error; n is the number of inputs.
    """

    n_releases: int
    identified: Estimate
    leakage_gain: Estimate


@dataclass(frozen=True)
class Ceiling:
    """What no attacker exceeds, as `cutlayer.privacy.ceiling` computes it.

    Attributes:
        none: Why there is no ceiling, ``deterministic`` or ``density unknown``; empty where there is one.
        candidates: Number of inputs that the attacker holds, of which the true one is any.
        at: By the number of releases, from 1.
        gone_after: Releases of one input after which the true candidate is found in 95 % of cases; None where that
            takes more than were tried.
        tried: Greatest number of releases that was tried.
    """

    none: str = ""
    candidates: int = 0
    at: tuple[CeilingAt, ...] = ()
    gone_after: float | None = None
    tried: int = 0

    def over(self, n_releases: int) -> CeilingAt | None:
        """The ceiling of whoever observes at least as many releases; None where that was not simulated."""
        return next((entry for entry in self.at if entry.n_releases >= n_releases), None)


@dataclass(frozen=True)
class Predictors:
    """Cheap numbers beside the ceiling, as `cutlayer.privacy.predictors` computes them from n images.

    Attributes:
        dfil: Fisher information leakage for each pixel.
        van_trees: The leakage gain that the van Trees bound allows.
        nats: Mutual information of input and release, if what is sent and the noise were normally distributed.
        conditional_entropy: The leakage gain that the bound of conditional entropy allows.
    """

    n: int
    dfil: float
    van_trees: float
    nats: float
    conditional_entropy: float


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """What a probe infers of private inputs from their smashed data, as `cutlayer.privacy.probes` measures it.

    Attributes:
        target: What it looks for, a key of `cutlayer.privacy.probes.TARGETS`.
        attribute: Name of the attribute, where that is the target.
        how: ``linear`` or ``mlp``, or the score of a membership.
        n_releases: Releases of one input that it observed.
        auc: Area under the ROC curve, the mean over classes where there are several; n is the number of inputs.
        baseline: That of who knows only the tail's answer; of the membership, that of a lot.
        over_baseline: The first less the second.
        found_at_1_percent: Share of the positives that are found where 1 % of the negatives are taken for positives;
            None where there are fewer than 100 negatives, or several classes.
        found_at_01_percent: Likewise at 0.1 %, with 1,000 negatives.
        positive: Share of the positives.
        accuracy: How often the class is inferred rightly; None for another target.
        baseline_accuracy: How often the tail's answer is right; None for another target, or without a tail.
        pairs: Number of pairs that were compared; None where inputs were.
    """

    target: str
    attribute: str = ""
    how: str
    n_releases: int
    auc: Estimate
    baseline: Estimate
    over_baseline: Estimate
    found_at_1_percent: Estimate | None = None
    found_at_01_percent: Estimate | None = None
    positive: float
    accuracy: Estimate | None = None
    baseline_accuracy: Estimate | None = None
    pairs: int | None = None


@dataclass(frozen=True)
class CostRecord:
    """What one deployment costs for each of n requests; sizes are medians, None where they are unknown.

    Attributes:
        head: Runtime of the head.
        end_to_end: Percentiles of whole requests.
        first_request_ns: Time from connecting to the first answer.
        tensor_bytes: Size of the encoded tensor.
        kernel_bytes: Bytes that the kernel sent.
        edge_peak_rss_bytes: Peak memory of the device's process.
        energy_source: Meter of the energy, or ``none``.
        others: Share of all cores of the machine that other processes took meanwhile; None where it is unknown.
        added_ns: What the defense adds to the median request, in turns with the undefended model, n being the rounds;
            None where they did not take turns.
    """

    deployment: str
    transport: str
    head: str
    n: int
    stages: dict[str, Percentiles]
    end_to_end: Percentiles
    first_request_ns: int | None
    tensor_bytes: int | None
    message_bytes: int | None
    kernel_bytes: int | None
    edge_peak_rss_bytes: int | None
    energy_j: float | None
    energy_source: str
    others: float | None = None
    added_ns: Estimate | None = None

    @property
    def sent_bytes(self) -> int | None:
        """Bytes that the kernel sent; the size of the message where the kernel does not tell."""
        return self.message_bytes if self.kernel_bytes is None else self.kernel_bytes


@dataclass(frozen=True)
class Flag:
    """A sign that the evaluation itself is suspect: its name and a sentence."""

    flag: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """`result.json` of one run: one model, one cut, one defense.

    Attributes:
        claim: What the experiment shows, in the words of the plan; may be empty.
        input: Shape of one input.
        smashed: Shape of the smashed data of one input.
        candidates: Inputs among which an identification looks for the true one.
        defense: Name and options of the defense, and of the one that follows it below ``then``.
        defense_label: Title of the defense with its options.
        defense_facts: What the defense states of itself.
        privacy: Every attack on every deployment.
        worst_case: The attack that leaks most; None where none was run.
        identification: Every attack on every deployment, in pixels, by a watch list or both; empty in records of older
            versions.
        failed: The attacks that failed, none of which has a figure.
        access: Name of the access that the attackers were granted at most.
        vantage: Where they sat, a key of `cutlayer.report.kit.wording.VANTAGES`.
        servers: Number of servers that they were; each got one release of every input where there are several.
        spectrum: What the head passes on; None where it was not measured.
        ceiling: What no attacker exceeds; None in records of older versions.
        predictors: Cheap numbers that may predict leakage; None where no density of noise is known.
        probes: What else the smashed data tells, where the plan asks.
        seconds: Duration of the parts of the run: ``train``, ``harden`` (with cutting and export), ``measure``,
            ``attack`` (with scores), ``spectrum``, ``ceiling``, ``predict``, ``probe``.
        words: What the attacks and metrics say of themselves that are not part of cutlayer.
        setup: Names data, model, cut, training and measurement: the figures of runs that share it can be compared.
            Empty in records of the first version.
        expect: What the claim expects of the figures, as `cutlayer.records.expectation` reads it.
        judge: The evaluation classifier of the metrics that need one, and its accuracy on real images; may be empty.
        codec: Codec of the smashed data, as a plan names it; empty in records of older versions.
        modality: The kind of the inputs, see `cutlayer.data.modality`.
    """

    schema: int
    id: str
    name: str
    claim: str
    data: str
    model: str
    cut: str
    seed: int
    classes: tuple[str, ...]
    input: tuple[int, ...]
    smashed: tuple[int, ...]
    candidates: int | None
    defense: dict[str, Any]
    defense_label: str
    defense_facts: dict[str, float | str]
    utility: Utility
    privacy: tuple[AttackRecord, ...]
    worst_case: WorstCase | None
    spectrum: Spectrum | None = None
    ceiling: Ceiling | None = None
    predictors: Predictors | None = None
    probes: tuple[ProbeRecord, ...] = ()
    cost: tuple[CostRecord, ...]
    flags: tuple[Flag, ...]
    seconds: dict[str, float]
    words: tuple[Words, ...] = ()
    setup: str = ""
    expect: tuple[str, ...] = ()
    failed: tuple[FailedAttack, ...] = ()
    identification: tuple[IdentificationRecord, ...] = ()
    access: str = "WHITE_BOX"
    vantage: str = "cloud"
    servers: int = 1
    judge: str = ""
    codec: str = ""
    modality: str = "image"

    @property
    def undefended(self) -> bool:
        """Whether this is the baseline."""
        return bool(self.defense["name"] == "none")

    @property
    def identified(self) -> IdentificationRecord | None:
        """The attack that identifies most inputs, over all attacks, deployments and ways; of equals the first.

        In records of older versions it is the attack that leaks most, by its pixels; None where none was run.
        """
        if self.identification:
            return most_identified(self.identification)
        worst = self.worst_case
        if worst is None or "identification" not in worst.metrics:
            return None
        return IdentificationRecord(
            attack=worst.attack, label=worst.label, access=worst.access, deployment=worst.deployment,
            n_releases=worst.n_releases, how=PIXELS, candidates=self.candidates or 0,
            top_1=worst.metrics["identification"], top_10=Estimate(nan, 0, nan, nan),
        )  # fmt: skip

    @property
    def has_watch_list(self) -> bool:
        """Whether an attack scored the candidates itself."""
        return any(found.how == WATCH_LIST for found in self.identification)


def load_result(value: Mapping[str, Any]) -> Result:
    """The result that the content of a `result.json` describes.

    Raises:
        KeyError, TypeError, ValueError: It is not of this schema.
    """
    if value["schema"] != SCHEMA:
        raise ValueError(f"schema {value['schema']!r} where this version of cutlayer reads {SCHEMA}")
    return load(Result, value)
