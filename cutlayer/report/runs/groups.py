"""Runs that belong on one chart: the same data, model and cut, each with its own color."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from math import prod

from cutlayer.records.reading import Run
from cutlayer.report.kit.wording import defense_name, in_order, learn

COLORS = 7  # classes c0 (undefended), c1 ... c6 of the style sheet


@dataclass(frozen=True)
class Member:
    """One run in its group."""

    run: Run
    label: str
    color: str


@dataclass(frozen=True)
class Group:
    """One split of one model on one data set, under several defenses."""

    anchor: str
    members: tuple[Member, ...]

    @property
    def first(self) -> Run:
        """A run of the group, for what all have in common."""
        return self.members[0].run

    @property
    def title(self) -> str:
        """Data, model and cut."""
        result = self.first.result
        return f"{result.data}, {result.model} cut at {result.cut}"

    @property
    def undefended(self) -> Run | None:
        """The baseline, when it was run."""
        return next((m.run for m in self.members if m.run.result.undefended), None)

    @property
    def smashed_size(self) -> int:
        """Count of numbers that are sent for one picture."""
        return prod(self.first.result.smashed)

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that a run has, in the order of the tables."""
        return in_order({name for m in self.members for attack in m.run.result.privacy for name in attack.metrics})

    @property
    def headline_metrics(self) -> list[str]:
        """The metrics beside the leakage gain, which itself stands for the mean squared error."""
        return [name for name in self.metrics if name != "mse"]

    @property
    def reproduction(self) -> bool:
        """Whether published values stand beside ours."""
        return any(attack.published for m in self.members for attack in m.run.result.privacy)


def group(runs: Sequence[Run]) -> list[Group]:
    """Runs by (data, model, cut); the group of the newest run first, the undefended baseline first in each."""
    learn(run.result for run in runs)
    by_split: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        by_split.setdefault((run.result.data, run.result.model, run.result.cut), []).append(run)
    newest = sorted(by_split.items(), key=lambda item: item[0])
    newest.sort(key=lambda item: max(str(run.env.get("started", "")) for run in item[1]), reverse=True)
    return [Group(f"g{i}", _members(members)) for i, (_, members) in enumerate(newest, 1)]


def _members(runs: list[Run]) -> tuple[Member, ...]:
    runs = sorted(runs, key=lambda run: (not run.result.undefended, natural(run.result.defense_label), run.result.id))
    n_runs = Counter(run.result.defense_label for run in runs)
    colors = cycle(range(1, COLORS))
    members = []
    for run in runs:
        result = run.result
        label = defense_name(result.defense_label)
        if n_runs[result.defense_label] > 1:
            label += f" ({result.id[:6]}, seed {result.seed})"
        members.append(Member(run, label, f"c{0 if result.undefended else next(colors)}"))
    return tuple(members)


def natural(label: str) -> list[tuple[bool, float, str]]:
    """Sort key that puts sigma=2 before sigma=10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(True, float(p), "") if i % 2 else (False, 0.0, p) for i, p in enumerate(parts)]
