"""Many defenses at several strengths and seeds: what belongs together, and one mean for the seeds of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from cutlayer.records.run import Estimate, WorstCase
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
        return mean(m.run.result.change for m in self.members)

    @property
    def leakage(self) -> Estimate:
        """Worst-case leakage gain, mean over the seeds."""
        return self._of_worst(lambda worst: worst.leakage_gain)

    def metric(self, name: str) -> Estimate:
        """A metric of the worst attack, mean over the seeds."""
        return self._of_worst(lambda worst: worst.metrics.get(name))

    def _of_worst(self, read: Callable[[WorstCase], Estimate | None]) -> Estimate:
        """The mean over the seeds of an estimate of the worst attack; NaN where a seed lacks it."""
        worst = [m.run.result.worst_case for m in self.members]
        known = [estimate for attack in worst if attack and (estimate := read(attack))]
        return _mean(known) if len(known) == len(worst) else Estimate(math.nan, 0, math.nan, math.nan)

    @property
    def attack(self) -> str:
        """The attack that was worst for most seeds."""
        names = [m.run.result.worst_case.label for m in self.members if m.run.result.worst_case]
        return Counter(names).most_common(1)[0][0] if names else "none was run"

    @property
    def p50_ns(self) -> float | None:
        """End-to-end time on the first deployment, median over the seeds."""
        costs = [m.run.result.cost[0] for m in self.members if m.run.result.cost]
        times = [time for cost in costs if (time := cost.end_to_end.get("p50")) is not None]
        return median(times) if times else None

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
    settings = [Setting(name, defense_name(label), tuple(seeds)) for (name, label), seeds in members.items()]
    return sorted(settings, key=lambda s: (not s.undefended, s.family, natural(s.label)))


def is_sweep(group: Group) -> bool:
    """Whether there is more on the page than colors can tell apart."""
    return len({member.run.result.defense_label for member in group.members}) > COLORS


def family(defense: Mapping[str, Any]) -> str:
    """The names of a defense and of those that follow it."""
    name, then = str(defense.get("name", "none")), defense.get("then")
    return f"{name} then {family(then)}" if isinstance(then, Mapping) else name


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of the values; its interval reaches from the least lower to the greatest upper end."""
    low, high = min(e.low for e in estimates), max(e.high for e in estimates)
    return Estimate(sum(e.value for e in estimates) / len(estimates), sum(e.n for e in estimates), low, high)
