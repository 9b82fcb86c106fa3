"""Runs that belong on one chart: the same data, model, cut and training, by defense and seed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, groupby
from math import prod
from typing import Any

from cutlayer.data.modality import TOKENS
from cutlayer.records.reading import Run
from cutlayer.registry import METRICS, STANDARD_METRICS
from cutlayer.report.kit.kinds import Kind, kind_of
from cutlayer.report.kit.wording import defense_name, in_order, learn
from cutlayer.report.runs.settings import Member, Setting

COLORS = 7  # classes c0 (undefended), c1 ... c6 of the style sheet


@dataclass(frozen=True)
class Family:
    """One defense at its strengths.

    Attributes:
        anchor: Place of the family on the page.
        name: The defense without its options.
        color: Number of the color: 0 for the baseline, else 1 to 6.
        shape: Number of the shape: 0 for the baseline, else from 1.
    """

    anchor: str
    name: str
    color: int
    shape: int
    settings: tuple[Setting, ...]


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

    @cached_property
    def families(self) -> list[Family]:
        """The settings by defense, in their order."""
        families = list[Family]()
        for number, (name, own) in enumerate(groupby(self.settings, key=lambda setting: setting.family)):
            settings = tuple(own)
            color, shape = (0, 0) if settings[0].undefended else (int(settings[0].color.removeprefix("c")), number)
            families.append(Family(f"{self.anchor}-d{number}", name, color, shape, settings))
        return families

    @property
    def seeds(self) -> list[int]:
        """Every seed, in order."""
        return sorted({member.run.result.seed for member in self.members})

    @property
    def deployments(self) -> list[str]:
        """Every deployment, in the order of the runs."""
        return list(dict.fromkeys(name for setting in self.settings for name in setting.deployments))

    @property
    def kind(self) -> Kind:
        """The words for its inputs."""
        return kind_of(self.first.result.modality)

    @property
    def smashed_size(self) -> int:
        """Count of numbers that are sent for one input; for the longest one, where they differ in length."""
        return prod(self.first.result.smashed)

    @property
    def in_tokens(self) -> bool:
        """Whether so many numbers are sent for each token, so that a short sentence takes less than the longest."""
        result = self.first.result
        return result.modality == TOKENS and len(result.smashed) > 1 and result.smashed[:1] == result.input[:1]

    @property
    def sends(self) -> str:
        """What is sent for one input, in words."""
        return f"{'at most ' if self.in_tokens else ''}{self.smashed_size:,} numbers"

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that a run has, in the order of the tables."""
        return in_order({name for m in self.members for attack in m.run.result.privacy for name in attack.metrics})

    @property
    def headline_metrics(self) -> list[str]:
        """The standard metrics and the user's own, without those for which another column stands.

        The leakage gain stands for the mean squared error, the share of identified inputs for that by their values, the
        columns of a row for its PSNR, and the tokens of a sentence for its ROUGE-L. Other metrics of cutlayer that a
        plan names are in the table of all attacks.
        """
        stood_for = {"mse", "identification", "rouge-l", *(["psnr"] if "columns-right" in self.metrics else [])}
        return [
            name
            for name in self.metrics
            if name not in stood_for and (name in STANDARD_METRICS or name not in set(METRICS))
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
    groups = []
    for i, (key, members) in enumerate(newest, 1):
        data, model, cut, _ = key
        title = f"{data}, {model} cut at {cut}"
        others = [run.result for other, runs in newest if other != key and other[:3] == key[:3] for run in runs]
        own = members[0].result
        # What tells it from the groups of the same data, model and cut: the codec, else the names of the plans.
        if others and own.codec and own.codec not in {result.codec for result in others}:
            title += f", codec {own.codec}"
        elif others:
            title += f" ({', '.join(sorted({run.result.name for run in members}))})"
        groups.append(Group(f"g{i}", title, _settings(members, f"g{i}")))
    return groups


def _settings(runs: Sequence[Run], anchor: str) -> tuple[Setting, ...]:
    """The runs by defense and strength: the baseline first, then by the numbers in the labels.

    The strengths of one defense share a color.
    """
    alike: dict[tuple[str, str, str, str], list[Run]] = {}
    n_runs = Counter((run.result.defense_label, str(run.result.defense), run.result.seed) for run in runs)
    for run in runs:
        result, options = run.result, str(run.result.defense)
        # Two runs of one defense with one seed differ in something that the record does not name.
        twice = n_runs[result.defense_label, options, result.seed] > 1
        key = family(result.defense), result.defense_label, options, result.id if twice else ""
        alike.setdefault(key, []).append(run)
    n_settings = Counter(title for _, title, *_ in alike)
    names = dict.fromkeys(sorted(key[0] for key in alike if key[0] != "none"))
    colors = dict(zip(names, cycle(range(1, COLORS)), strict=False))
    words = {name: [_words(title) for family, title, *_ in alike if family == name] for name in [*names, "none"]}
    settings = list[Setting]()
    for key in sorted(alike, key=lambda key: (key[0] != "none", key[0], natural(key[1]), *key[2:])):
        name, title, *_ = key
        of_seeds = sorted(alike[key], key=lambda run: run.result.seed)
        first = of_seeds[0].result
        color = f"c{colors.get(name, 0)}"
        label = defense_name(title)
        if n_settings[title] > 1:
            label += f" ({first.id[:6]}{f', seed {first.seed}' if len(of_seeds) == 1 else ''})"
        members = [
            Member(run, f"{label}, seed {run.result.seed}" if len(of_seeds) > 1 else label, color) for run in of_seeds
        ]
        strength = _strength(title, words[name]) or label
        settings.append(Setting(f"{anchor}-s{len(settings)}", name, label, strength, color, tuple(members)))
    return tuple(settings)


def _words(title: str) -> list[str]:
    return title.replace(",", " ").split()


def _strength(title: str, alike: Sequence[Sequence[str]]) -> str:
    """The words of a title that are not in every title of its family; of options with one value each, the values."""
    own = [word for word in _words(title) if not all(word in words for words in alike)]
    if not own:
        own = _words(title)[1:] if len(alike) == 1 else ["default"]
    options = [word.partition("=") for word in own]
    # A title without options has their defaults.
    valued = [words for words in alike if any("=" in word for word in words)]
    one = len(options) == 1 and all(any(word.startswith(f"{options[0][0]}=") for word in words) for words in valued)
    return options[0][2] if one and options[0][2] else " ".join(own)


def family(defense: Mapping[str, Any]) -> str:
    """The names of a defense and of those that follow it."""
    name, then = str(defense.get("name", "none")), defense.get("then")
    return f"{name} then {family(then)}" if isinstance(then, Mapping) else name


def natural(label: str) -> list[tuple[bool, float, str]]:
    """Sort key that puts sigma=2 before sigma=10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(True, float(p), "") if i % 2 else (False, 0.0, p) for i, p in enumerate(parts)]
