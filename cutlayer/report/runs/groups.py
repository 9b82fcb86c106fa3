"""Runs that belong on one chart: the same data, model, cut and training, by defense and seed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from math import prod
from typing import Any

from cutlayer.records.reading import Run
from cutlayer.registry import METRICS, STANDARD_METRICS
from cutlayer.report.kit.wording import defense_name, in_order, learn
from cutlayer.report.runs.settings import Member, Setting

COLORS = 7  # classes c0 (undefended), c1 ... c6 of the style sheet


@dataclass(frozen=True)
class Group:
    """One split of one model on one data set, under several defenses."""

    anchor: str
    title: str
    settings: tuple[Setting, ...]

    @property
    def first(self) -> Run:
        """A run of the group, for what all have in common."""
        return self.settings[0].members[0].run

    @property
    def members(self) -> list[Member]:
        """Every run, by setting and seed."""
        return [member for setting in self.settings for member in setting.members]

    @property
    def undefended(self) -> Setting | None:
        """The baseline, when it was run."""
        return next((setting for setting in self.settings if setting.undefended), None)

    @property
    def seeds(self) -> list[int]:
        """Every seed, in order."""
        return sorted({member.run.result.seed for member in self.members})

    @property
    def deployments(self) -> list[str]:
        """Every deployment, in the order of the runs."""
        return list(dict.fromkeys(name for setting in self.settings for name in setting.deployments))

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
        """The standard metrics and the user's own, without those for which another column stands.

        The leakage gain stands for the mean squared error, and the share of identified pictures for that in pixels.
        Other metrics of cutlayer that a plan names are in the table of all attacks.
        """
        return [
            name
            for name in self.metrics
            if name not in ("mse", "identification") and (name in STANDARD_METRICS or name not in set(METRICS))
        ]

    @property
    def reproduction(self) -> bool:
        """Whether published values stand beside ours."""
        return any(attack.published for m in self.members for attack in m.run.result.privacy)

    @property
    def is_sweep(self) -> bool:
        """Whether there are more defenses than colors can tell apart."""
        return len(self.settings) > COLORS


def group(runs: Sequence[Run]) -> list[Group]:
    """Runs by data, model, cut and training; the group of the newest run first, the undefended baseline first in each.

    What was trained or measured in another way stands apart, since its figures cannot be compared.
    """
    learn(run.result for run in runs)
    by_split: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in runs:
        result = run.result
        by_split.setdefault((result.data, result.model, result.cut, result.setup), []).append(run)
    newest = sorted(by_split.items(), key=lambda item: item[0])
    newest.sort(key=lambda item: max(str(run.env.get("started", "")) for run in item[1]), reverse=True)
    alike = Counter(key[:3] for key in by_split)
    groups = []
    for i, ((data, model, cut, _), members) in enumerate(newest, 1):
        names = ", ".join(sorted({run.result.name for run in members})) if alike[data, model, cut] > 1 else ""
        title = f"{data}, {model} cut at {cut}{f' ({names})' if names else ''}"
        groups.append(Group(f"g{i}", title, _settings(members)))
    return groups


def _settings(runs: Sequence[Run]) -> tuple[Setting, ...]:
    """The runs by defense and strength: the baseline first, then by the numbers in the labels."""
    alike: dict[tuple[str, str, str, str], list[Run]] = {}
    n_runs = Counter((run.result.defense_label, str(run.result.defense), run.result.seed) for run in runs)
    for run in runs:
        result, options = run.result, str(run.result.defense)
        # Two runs of one defense with one seed differ in something that the record does not name.
        twice = n_runs[result.defense_label, options, result.seed] > 1
        key = family(result.defense), result.defense_label, options, result.id if twice else ""
        alike.setdefault(key, []).append(run)
    n_settings = Counter(title for _, title, *_ in alike)
    colors, settings = cycle(range(1, COLORS)), []
    for key in sorted(alike, key=lambda key: (key[0] != "none", key[0], natural(key[1]), *key[2:])):
        name, title, *_ = key
        of_seeds = sorted(alike[key], key=lambda run: run.result.seed)
        first = of_seeds[0].result
        color = f"c{0 if first.undefended else next(colors)}"
        label = defense_name(title)
        if n_settings[title] > 1:
            label += f" ({first.id[:6]}{f', seed {first.seed}' if len(of_seeds) == 1 else ''})"
        members = [
            Member(run, f"{label}, seed {run.result.seed}" if len(of_seeds) > 1 else label, color) for run in of_seeds
        ]
        settings.append(Setting(name, label, color, tuple(members)))
    return tuple(settings)


def family(defense: Mapping[str, Any]) -> str:
    """The names of a defense and of those that follow it."""
    name, then = str(defense.get("name", "none")), defense.get("then")
    return f"{name} then {family(then)}" if isinstance(then, Mapping) else name


def natural(label: str) -> list[tuple[bool, float, str]]:
    """Sort key that puts sigma=2 before sigma=10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(True, float(p), "") if i % 2 else (False, 0.0, p) for i, p in enumerate(parts)]
