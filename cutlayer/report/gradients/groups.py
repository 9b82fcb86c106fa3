"""What the sections of a study of updates are made from: its records by defense, kind of update and attack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.run import Estimate
from cutlayer.report.kit.comparison import mean

Where = tuple[int, int, int]
"""Samples of an update, local steps, and epochs of the victim's model."""


@dataclass(frozen=True)
class Cell:
    """One attack on one kind of update under one defense, over all seeds.

    Attributes:
        records: One for each seed.
    """

    records: tuple[UpdateRecord, ...]

    @property
    def first(self) -> UpdateRecord:
        """That of the first seed."""
        return self.records[0]

    @property
    def gain(self) -> Estimate | None:
        """The leakage gain; None where no seed has one."""
        return self._mean([r.own.leakage_gain for r in self.records if r.own is not None])

    def metric(self, name: str, *, used: bool = False) -> Estimate | None:
        """A metric over the seeds; `used` for the samples that the defense has put in place of the client's own."""
        scores = [r.used if used else r.own for r in self.records]
        return self._mean([s.metrics[name] for s in scores if s is not None and name in s.metrics])

    @staticmethod
    def _mean(values: Sequence[Estimate]) -> Estimate | None:
        return mean(values) if values else None


@dataclass(frozen=True)
class Group:
    """The records of one study.

    Attributes:
        records: All of them.
    """

    records: tuple[UpdateRecord, ...]

    @property
    def title(self) -> str:
        """Model and data."""
        return f"{self.records[0].model} on {self.records[0].data}"

    @property
    def anchor(self) -> str:
        """Id on the page."""
        return f"updates-{self.records[0].study}"

    @property
    def places(self) -> list[Where]:
        """The kinds of updates, and the states of the model, in order."""
        return sorted({(r.epochs, r.steps, r.samples) for r in self.records})

    @property
    def defenses(self) -> list[str]:
        """Titles of the defenses in the order of the records, those without one first."""
        found = list(dict.fromkeys(r.defense_label for r in self.records))
        return sorted(found, key=lambda label: label != "none")

    @property
    def attacks(self) -> list[str]:
        """Titles of the attacks."""
        return list(dict.fromkeys(r.label for r in self.records if not r.floor))

    @property
    def floors(self) -> list[str]:
        """Titles of the floors."""
        return list(dict.fromkeys(r.label for r in self.records if r.floor))

    def cell(self, defense: str, label: str, place: Where, *, floor: bool = False) -> Cell | None:
        """One cell; None where the attack was not run there."""
        found = tuple(
            r
            for r in self.records
            if (r.defense_label, r.label, r.floor) == (defense, label, floor)
            and (r.epochs, r.steps, r.samples) == place
        )
        return Cell(found) if found else None

    def worst(self, defense: str, place: Where) -> Cell | None:
        """The attack with the greatest leakage gain; None where none has one."""
        cells = [cell for label in self.attacks if (cell := self.cell(defense, label, place)) and cell.gain is not None]
        return max(cells, key=lambda cell: cell.gain.value if cell.gain else 0.0, default=None)


def group(records: Iterable[UpdateRecord]) -> list[Group]:
    """The studies, each with its records."""
    by_study: dict[str, list[UpdateRecord]] = {}
    for record in records:
        by_study.setdefault(record.study, []).append(record)
    return [Group(tuple(found)) for found in by_study.values()]


def where_text(place: Where) -> str:
    """``B 8, untrained``; ``B 1, 4 local steps, after 2 epochs``."""
    epochs, steps, samples = place
    state = "untrained" if not epochs else f"after {epochs} epoch{'s'[: epochs > 1]}"
    return ", ".join(filter(None, [f"B {samples}", f"{steps} local steps" if steps else "", state]))
