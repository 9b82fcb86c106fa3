"""What the sections of a study of updates are made from: its records by defense, kind of update and attack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cutlayer.data.modality import IMAGE, TABLE, TOKENS
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.run import Estimate
from cutlayer.registry import DATASETS
from cutlayer.report.kit.comparison import mean

Where = tuple[int, int, int]
"""Samples of an update, local steps, and epochs of the victim's model."""


def kind_of(records: Iterable[UpdateRecord]) -> str:
    """The name of the kind of samples that records are about, which their metrics tell."""
    metrics = {name for r in records if r.own is not None for name in r.own.metrics}
    return TOKENS if "token-accuracy" in metrics else TABLE.name if "features" in metrics else IMAGE.name


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

    @property
    def rebuilt(self) -> float:
        """The share of samples above 25 dB, or of rows or sentences that are right throughout."""
        share = self.metric("rebuilt") or self.metric("exact rows") or self.metric("exact")
        return share.value if share else 0.0

    def metric(self, name: str, *, used: bool = False) -> Estimate | None:
        """A metric over the seeds; `used` for the samples that the defense has put in place of the client's own."""
        scores = [r.used if used else r.own for r in self.records]
        return self._mean([s.metrics[name] for s in scores if s is not None and name in s.metrics])

    @property
    def kind(self) -> str:
        """The name of the kind of its samples."""
        return kind_of(self.records)

    @staticmethod
    def _mean(values: Sequence[Estimate]) -> Estimate | None:
        return mean(values) if values else None


@dataclass(frozen=True)
class Group:
    """The records of one study.

    Attributes:
        records: All of them.
        folder: Its folder; None where the pictures in it are of no account.
    """

    records: tuple[UpdateRecord, ...]
    folder: Path | None = None

    @property
    def title(self) -> str:
        """Model and data, and whether updates were recorded from a training."""
        first = self.records[0]
        wire = f", recorded from {first.wire}" if first.wire else ""
        return f"{first.model} on {DATASETS.label(first.data)}{wire}"

    @property
    def kind(self) -> str:
        """The name of the kind of its samples."""
        return kind_of(self.records)

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
        """Titles of the defenses by name, that of none first."""
        return sorted({r.defense_label for r in self.records}, key=lambda label: (label != "none", label))

    @property
    def attacks(self) -> list[str]:
        """Titles of the attacks by name."""
        return sorted({r.label for r in self.records if not r.floor})

    @property
    def floors(self) -> list[str]:
        """Titles of the floors by name."""
        return sorted({r.label for r in self.records if r.floor})

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
        """The attack that rebuilds most; None where none has a score.

        It is the one with the greatest share of samples above 25 dB, or of rows that are right throughout, and of equal
        ones that with the greatest leakage gain: many searches find a sample exactly or not at all, and the mean error
        hides that.
        """
        cells = [cell for label in self.attacks if (cell := self.cell(defense, label, place)) and cell.gain is not None]
        return max(cells, key=lambda cell: (cell.rebuilt, cell.gain.value if cell.gain else 0.0), default=None)


def group(records: Iterable[UpdateRecord], folders: Mapping[str, Path] | None = None) -> list[Group]:
    """The studies, each with its records.

    Args:
        records: The records of all studies.
        folders: The folder of each study, by its id.
    """
    by_study: dict[str, list[UpdateRecord]] = {}
    for record in records:
        by_study.setdefault(record.study, []).append(record)
    return [Group(tuple(found), (folders or {}).get(study)) for study, found in by_study.items()]


def where_text(place: Where) -> str:
    """``B 8, untrained``; ``B 1, 4 local steps, after 2 epochs``."""
    epochs, steps, samples = place
    state = "untrained" if not epochs else f"after {epochs} epoch{'s'[: epochs > 1]}"
    local = f"{steps} local step{'s'[: steps > 1]}" if steps else ""
    return ", ".join(filter(None, [f"B {samples}", local, state]))
