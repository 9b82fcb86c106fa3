"""Trainings that belong on one chart: the same data, model and partition, by what was varied and by seed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cutlayer.records.training import RoundRecord, TrainingRecord

COLORS = 6
"""Classes c1 to c6 of the style sheet."""

PATTERNS = ("", " again", " third")
"""Classes of the first six lines, of the next ones, which are dashed with hollow points, and of the dotted ones."""


@dataclass(frozen=True)
class Curve:
    """Trainings that differ in their seed alone.

    Attributes:
        label: The protocol and what its plans change.
        color: A class of the style sheet.
        runs: One for each seed.
    """

    label: str
    color: str
    runs: tuple[TrainingRecord, ...]

    @property
    def first(self) -> TrainingRecord:
        """The training with the lowest seed."""
        return self.runs[0]

    def over_rounds(self) -> list[tuple[float, float]]:
        """Round and accuracy, the mean over the seeds that have the round."""
        found: dict[int, list[float]] = {}
        for run in self.runs:
            for entry in run.rounds:
                if entry.accuracy is not None:
                    found.setdefault(entry.round, []).append(entry.accuracy.value)
        return [(float(number), sum(values) / len(values)) for number, values in sorted(found.items())]

    def over_bytes(self) -> list[tuple[float, float]]:
        """Bytes that all clients have sent and received until the end of a round, and accuracy; of the first seed."""
        points, total = list[tuple[float, float]](), 0
        for entry in self.first.rounds:
            total += entry.sent("up") + entry.sent("down")
            if entry.accuracy is not None and total:
                points.append((float(total), entry.accuracy.value))
        return points

    @property
    def finals(self) -> list[RoundRecord]:
        """The last measured round of each seed that has one."""
        return [run.last for run in self.runs if run.last is not None]


@dataclass(frozen=True)
class Group:
    """Curves of one data set, one model and one partition."""

    anchor: str
    title: str
    curves: tuple[Curve, ...]

    @property
    def runs(self) -> list[TrainingRecord]:
        """All trainings of the group."""
        return [run for curve in self.curves for run in curve.runs]

    @property
    def parted(self) -> TrainingRecord:
        """A training whose partition is known, for who holds what; one with several clients if there is one."""
        return max(self.runs, key=lambda run: (len(run.held) > 1, len(run.held), -run.seed))


def group(trainings: Sequence[TrainingRecord]) -> list[Group]:
    """The groups by title. Centralised training is in each group of its data and model."""
    groups: dict[tuple[str, ...], list[TrainingRecord]] = {}
    central = [run for run in trainings if run.protocol == "centralised"]
    for run in trainings:
        if run.protocol != "centralised":
            groups.setdefault((run.data, run.model, run.partition, str(run.clients), str(run.n_train)), []).append(run)
    for run in central:
        beside = [key for key in groups if key[:2] == (run.data, run.model) and key[4] == str(run.n_train)]
        for key in beside or [(run.data, run.model, run.partition, str(run.clients), str(run.n_train))]:
            groups.setdefault(key, []).append(run)
    made, taken = list[Group](), set[str]()
    for key, runs in groups.items():
        data, model, partition, clients, _ = key
        title = f"{model} on {data}, {clients} client{'s'[: clients != '1']}, {partition}"
        anchor = "training-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        while anchor in taken:
            anchor += "-2"
        taken.add(anchor)
        labels = sorted({run.label for run in runs}, key=_in_order)
        curves = tuple(
            Curve(name, _color(i), tuple(sorted((r for r in runs if r.label == name), key=lambda r: r.seed)))
            for i, name in enumerate(labels)
        )
        made.append(Group(anchor, title, curves))
    return sorted(made, key=lambda found: found.title)


BASELINES = ("fedavg", "local", "centralised")
"""Protocols without a cut, which come after the others."""


def _in_order(label: str) -> tuple[int, str]:
    """The key that sorts labels by name, with the baselines last."""
    name = label.partition(",")[0]
    return (BASELINES.index(name) + 1 if name in BASELINES else 0), label


def _color(number: int) -> str:
    """A class of the style sheet for the curve of a number, from 0."""
    return f"c{number % COLORS + 1}{PATTERNS[number // COLORS % len(PATTERNS)]}"
