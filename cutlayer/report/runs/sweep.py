"""Many defenses at several strengths and seeds: what belongs together, and one mean for the seeds of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from cutlayer.records.run import Estimate, Result
from cutlayer.report.kit.wording import defense_name
from cutlayer.report.runs.groups import COLORS, Group, Member, natural


@dataclass(frozen=True)
class Setting:
    """One defense at one strength, over its seeds.

    Attributes:
        family: The defense without its options.
        label: The defense with its options, or its title.
        members: One run for each seed.
    """

    family: str
    label: str
    members: tuple[Member, ...]

    @property
    def undefended(self) -> bool:
        """Whether this is the baseline."""
        return self.members[0].run.result.undefended

    @property
    def titled(self) -> bool:
        """Whether a plan gave it a name of its own, as to a control; it is then no point on the curve."""
        name = self.family.partition(" ")[0]
        return not f"{self.label} ".startswith(f"{name} ")

    @property
    def accuracy(self) -> Estimate:
        """Mean over the seeds."""
        return _mean([m.run.result.utility.accuracy for m in self.members])

    @property
    def change(self) -> float:
        """Accuracy less that of the same model undefended, mean over the seeds."""
        changes = [m.run.result.change for m in self.members]
        return sum(changes) / len(changes)

    @property
    def leakage(self) -> Estimate:
        """Worst-case leakage gain, mean over the seeds."""
        return self.worst(lambda result: result.worst_case.leakage_gain if result.worst_case else None)

    def metric(self, name: str) -> Estimate:
        """A metric of the worst attack, mean over the seeds."""
        return self.worst(lambda result: result.worst_case.metrics.get(name) if result.worst_case else None)

    def worst(self, read: Callable[[Result], Estimate | None]) -> Estimate:
        """The mean over the seeds of what `read` returns; NaN where it returns None for a seed."""
        estimates = [read(m.run.result) for m in self.members]
        known = [estimate for estimate in estimates if estimate is not None]
        return _mean(known) if len(known) == len(estimates) else Estimate(math.nan, 0, math.nan, math.nan)

    @property
    def attack(self) -> str:
        """The attack that was worst for most seeds."""
        names = [m.run.result.worst_case.label for m in self.members if m.run.result.worst_case]
        return Counter(names).most_common(1)[0][0] if names else "none was run"

    @property
    def p50_ns(self) -> float | None:
        """End-to-end time on the first deployment, median over the seeds."""
        times = [m.run.result.cost[0].end_to_end.get("p50") for m in self.members if m.run.result.cost]
        known = [time for time in times if time is not None]
        return median(known) if known else None

    @property
    def tensor_bytes(self) -> int | None:
        """The released tensor of one picture, as the codec packed it."""
        costs = [m.run.result.cost[0] for m in self.members if m.run.result.cost]
        return costs[0].tensor_bytes if costs else None


def settings(group: Group) -> list[Setting]:
    """The group by defense and strength: the baseline first, then by the numbers in the labels."""
    members: dict[tuple[str, str], list[Member]] = {}
    for member in group.members:
        result = member.run.result
        members.setdefault((family(result.defense), result.defense_label), []).append(member)
    unsorted = [Setting(name, defense_name(label), tuple(of_one)) for (name, label), of_one in members.items()]
    return sorted(unsorted, key=lambda s: (not s.undefended, s.family, natural(s.label)))


def is_sweep(group: Group) -> bool:
    """Whether there is more on the page than colors can tell apart."""
    return len({member.run.result.defense_label for member in group.members}) > COLORS


def family(defense: Mapping[str, Any]) -> str:
    """The names of a defense and of those that follow it."""
    name, then = str(defense.get("name", "none")), defense.get("then")
    return f"{name} then {family(then)}" if isinstance(then, Mapping) else name


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of the values; its interval reaches from the least lower to the greatest upper end."""
    return Estimate(
        sum(e.value for e in estimates) / len(estimates),
        sum(e.n for e in estimates),
        min(e.low for e in estimates),
        max(e.high for e in estimates),
    )
