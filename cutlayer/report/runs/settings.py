"""One defense at one strength over its seeds: every figure is the mean over the seeds, with the spread beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import mean as arithmetic_mean

import numpy as np

from cutlayer.percentiles import median_interval
from cutlayer.records.reading import Run
from cutlayer.records.run import (
    AttackRecord,
    Ceiling,
    CeilingAt,
    ColumnRecord,
    CostRecord,
    Estimate,
    FailedAttack,
    IdentificationRecord,
    Result,
    WorstCase,
)
from cutlayer.report.kit.comparison import UNKNOWN, less, mean

Percentile = tuple[str, str]
"""Stage, or ``end_to_end``, and percentile."""


@dataclass(frozen=True)
class Member:
    """One run of a setting. `label` names its seed where the setting has several."""

    run: Run
    label: str
    color: str


@dataclass(frozen=True)
class Setting:
    """One defense at one strength.

    Attributes:
        anchor: Place of the setting on the page.
        family: The defense without its options.
        label: The defense with its options, or its title.
        strength: What tells the label from those of the same family.
        color: A class of the style sheet.
        members: One run for each seed, in the order of the seeds.
    """

    anchor: str
    family: str
    label: str
    strength: str
    color: str
    members: tuple[Member, ...]

    @property
    def first(self) -> Result:
        """The result of the first seed, for what all have in common."""
        return self.members[0].run.result

    @property
    def results(self) -> list[Result]:
        """The result of each seed."""
        return [member.run.result for member in self.members]

    @property
    def by_seed(self) -> dict[int, Result]:
        """The results by their seeds."""
        return {result.seed: result for result in self.results}

    @property
    def undefended(self) -> bool:
        """Whether this is the baseline."""
        return self.first.undefended

    @property
    def titled(self) -> bool:
        """Whether a plan gave it a name of its own, as to a control; it is then no point on the curve."""
        name = self.family.partition(" ")[0]
        return not f"{self.label} ".startswith(f"{name} ")

    @cached_property
    def usefulness(self) -> Estimate:
        """Accuracy on the first deployment, or the cosine of its answers where they are vectors."""
        return mean([result.utility.figure for result in self.results])

    @property
    def baseline(self) -> Estimate:
        """Accuracy of the models of the same seeds without the defense; unknown where the answers are vectors."""
        return mean([known for result in self.results if (known := result.utility.baseline)])

    @cached_property
    def change(self) -> Estimate:
        """Accuracy less that of the model of the same seed without the defense, or the cosine less 1."""
        return mean([change(result) for result in self.results])

    @property
    def same_nearest(self) -> Estimate:
        """How often the nearest other input stays the same, where the answers are vectors; unknown otherwise."""
        return mean([same_nearest(result) for result in self.results])

    @cached_property
    def leakage(self) -> Estimate:
        """Worst-case leakage gain."""
        return self._of_worst(lambda worst: worst.leakage_gain)

    def less_leakage(self, other: Setting) -> Estimate:
        """Worst-case leakage gain less that of another setting, seed by seed; unknown where they share no seed."""
        mine, theirs = ({s: r.worst_case for s, r in setting.by_seed.items()} for setting in (self, other))
        pairs = [(mine[seed], theirs[seed]) for seed in mine if seed in theirs]
        return mean([less(a.leakage_gain, b.leakage_gain) for a, b in pairs if a and b])

    def metric(self, name: str) -> Estimate:
        """A metric of the worst attack."""
        return self._of_worst(lambda worst: worst.metrics.get(name))

    @property
    def ceiling(self) -> Ceiling | None:
        """What no attacker exceeds, the mean over the seeds; gone after the fewest releases of any seed.

        None where a seed has no record of it; where a seed has no ceiling, that seed's record.
        """
        of_seeds = [result.ceiling for result in self.results]
        known = [ceiling for ceiling in of_seeds if ceiling]
        if len(known) < len(of_seeds):
            return None
        if (without := next((ceiling for ceiling in known if ceiling.none), None)) is not None:
            return without
        by_number: dict[int, list[CeilingAt]] = {}
        for at in (at for ceiling in known for at in ceiling.at):
            by_number.setdefault(at.n_releases, []).append(at)
        means = [
            CeilingAt(n, mean([at.identified for at in ats]), mean([at.leakage_gain for at in ats]))
            for n, ats in sorted(by_number.items())
            if len(ats) == len(known)
        ]
        gone = [ceiling.gone_after for ceiling in known if ceiling.gone_after is not None]
        return replace(known[0], at=tuple(means), gone_after=min(gone, default=None))

    def _of_worst(self, read: Callable[[WorstCase], Estimate | None]) -> Estimate:
        """The mean of an estimate of the worst attack; unknown where a seed lacks it."""
        worst = [result.worst_case for result in self.results]
        known = [estimate for attack in worst if attack and (estimate := read(attack))]
        return mean(known) if len(known) == len(worst) else UNKNOWN

    @property
    def worst(self) -> WorstCase | None:
        """The worst case of the first of the seeds for which `attack` was worst."""
        cases = [result.worst_case for result in self.results if result.worst_case]
        return next((case for case in cases if case.label == self.attack), None)

    @cached_property
    def identified(self) -> Estimate:
        """The share of pictures that the best attack of each seed identifies; unknown where a seed has none."""
        known = [result.identified.top_1 for result in self.results if result.identified]
        return mean(known) if len(known) == len(self.results) else UNKNOWN

    @property
    def identifier(self) -> IdentificationRecord | None:
        """The record behind it, of the seed in which most are identified."""
        known = [result.identified for result in self.results if result.identified]
        return max(known, key=lambda found: found.top_1.value, default=None)

    @property
    def has_watch_list(self) -> bool:
        """Whether an attack scored the candidates itself, in every seed."""
        return all(result.has_watch_list for result in self.results)

    @property
    def identification(self) -> list[IdentificationRecord]:
        """Every attack on every deployment, by each way to identify; the mean over the seeds."""
        rows: dict[tuple[str, str, str], list[IdentificationRecord]] = {}
        for result in self.results:
            for found in result.identification:
                rows.setdefault((found.deployment, found.label, found.how), []).append(found)
        return [
            replace(
                of_seeds[0],
                top_1=mean([found.top_1 for found in of_seeds]),
                top_10=mean([found.top_10 for found in of_seeds]),
                curve=tuple(map(arithmetic_mean, zip(*(found.curve for found in of_seeds), strict=False))),
            )
            for of_seeds in rows.values()
        ]

    @property
    def attack(self) -> str:
        """The attack that was worst for most seeds."""
        names = [result.worst_case.label for result in self.results if result.worst_case]
        return Counter(names).most_common(1)[0][0] if names else "none was run"

    @property
    def attackers(self) -> str:
        """The attacks whose figures `leakage` is the mean of: the worst of each seed, which need not be one attack."""
        names = [result.worst_case.label for result in self.results if result.worst_case]
        return " or ".join(name for name, _ in Counter(names).most_common()) or self.attack

    @cached_property
    def attacks(self) -> list[AttackRecord]:
        """Every attack on every deployment."""
        rows: dict[tuple[str, str], list[AttackRecord]] = {}
        for result in self.results:
            for attack in result.privacy:
                rows.setdefault((attack.deployment, attack.label), []).append(attack)
        return [_averaged(of_seeds) for of_seeds in rows.values()]

    @property
    def failed(self) -> dict[str, FailedAttack]:
        """The attacks that failed for some seed, by their labels."""
        return {attack.label: attack for result in self.results for attack in result.failed}

    @property
    def deployments(self) -> list[str]:
        """The deployments of all seeds."""
        return list(dict.fromkeys(cost.deployment for result in self.results for cost in result.cost))

    def costs(self, deployment: str | None = None) -> list[CostRecord]:
        """What a deployment costs, for each seed that has it; the first deployment when None."""
        wanted = deployment or next(iter(self.deployments), None)
        return [cost for result in self.results for cost in result.cost if cost.deployment == wanted]

    def time_ns(
        self, deployment: str | None = None, stage: str = "end_to_end", percentile: str = "p50"
    ) -> float | None:
        """A percentile of the time of a request, or of one of its stages, the mean over the seeds; None if unknown."""
        costs = self.costs(deployment)
        times = [(c.end_to_end if stage == "end_to_end" else c.stages.get(stage, {})).get(percentile) for c in costs]
        known = [time for time in times if time is not None]
        return arithmetic_mean(known) if known and len(known) == len(times) else None

    def request_ns(self, deployment: str | None = None) -> Estimate:
        """The median time of a request in ns, with the interval that the raw samples give; the mean over the seeds."""
        wanted = deployment or next(iter(self.deployments), "")
        medians = [_median(member.run, wanted) for member in self.members]
        known = [estimate for estimate in medians if estimate]
        return mean(known) if known and len(known) == len(medians) else UNKNOWN

    def added_ns(self, deployment: str | None = None) -> Estimate | None:
        """What the defense adds to a request, where every seed took turns with the undefended model."""
        known = [cost.added_ns for cost in self.costs(deployment) if cost.added_ns]
        return mean(known) if known and len(known) == len(self.costs(deployment)) else None

    @property
    def tensor_bytes(self) -> int | None:
        """The released tensor of one picture, as the codec packed it."""
        return next((cost.tensor_bytes for cost in self.costs()), None)

    def sent_bytes(self, deployment: str | None = None) -> int | None:
        """The bytes of one request on the socket, of the first seed that has the deployment."""
        return next((cost.sent_bytes for cost in self.costs(deployment)), None)

    @property
    def n_flags(self) -> int:
        """Number of red flags, over all seeds."""
        return sum(len(result.flags) for result in self.results)


def change(result: Result) -> Estimate:
    """Accuracy less that of the same model undefended, input by input where the record has it; or the cosine less 1."""
    utility = result.utility
    return utility.change or less(utility.figure, utility.baseline or UNKNOWN)


def same_nearest(result: Result) -> Estimate:
    """How often the nearest other input stays the same; unknown where the answers are no vectors."""
    return (result.utility.vectors and result.utility.vectors.same_nearest) or UNKNOWN


def spread(values: Iterable[Estimate], number: Callable[[float], str]) -> str:
    """The value of each seed, from the lowest to the highest; empty for a single one."""
    known = sorted(estimate.value for estimate in values if not math.isnan(estimate.value))
    return f"seeds {number(known[0])} to {number(known[-1])}" if len(known) > 1 else ""


def typical(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of typical requests, stage by stage, so that the stages still add up."""
    return {name: float(np.mean([of_seed[name] for of_seed in stages])) for name in stages[0]} if stages else {}


def _median(run: Run, deployment: str) -> Estimate | None:
    """The median time of a request of one run; without an interval where the raw samples are missing."""
    cost = next((cost for cost in run.result.cost if cost.deployment == deployment), None)
    median = cost.end_to_end.get("p50") if cost else None
    if cost is None or median is None:
        return None
    samples = run.traces.get(f"{deployment}/end_to_end_ns")
    ends = None if samples is None else median_interval(samples)
    return Estimate(median, cost.n, *(ends or (math.nan, math.nan)))


def _averaged(rows: Sequence[AttackRecord]) -> AttackRecord:
    """One row for the rows of several seeds."""
    first, names = rows[0], [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]
    return replace(
        first,
        n=sum(row.n for row in rows),
        fit_s=arithmetic_mean(row.fit_s for row in rows),
        invert_s=arithmetic_mean(row.invert_s for row in rows),
        metrics={name: mean([row.metrics[name] for row in rows]) for name in names},
        leakage_gain=mean([row.leakage_gain for row in rows]),
        columns=tuple(map(_column, *(row.columns for row in rows))),
    )


def _column(*of_seeds: ColumnRecord) -> ColumnRecord:
    """One record of a column for those of several seeds."""
    right, guessed = mean([of.right for of in of_seeds]), arithmetic_mean(of.guessed for of in of_seeds)
    return ColumnRecord(name=of_seeds[0].name, right=right, guessed=guessed)
