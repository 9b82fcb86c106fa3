"""What the sections of a study of class-level inversion are made from: its records by victim and attack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cutlayer.errors import ConfigError
from cutlayer.records.class_level import CEILING, ClassRecord
from cutlayer.records.run import Estimate
from cutlayer.registry import CLASS_ATTACKS, DATASETS
from cutlayer.report.kit.comparison import mean

NEAREST = "nearest-auxiliary"
"""The floor that distances are measured from."""
HALF = 0.5
"""A share above which more is recognized than not."""
Who = tuple[int, str]
"""A victim: its epochs, and the title of its defense."""


@dataclass(frozen=True)
class Cell:
    """One attack on one victim, over all seeds.

    Attributes:
        records: One for each seed.
    """

    records: tuple[ClassRecord, ...]

    @property
    def first(self) -> ClassRecord:
        """That of the first seed."""
        return self.records[0]

    def metric(self, name: str, *, sampled: bool = False) -> Estimate | None:
        """A figure over the seeds; `sampled` for that of as many questions without a search."""
        found = [
            f.metrics[name]
            for r in self.records
            if (f := r.sampled if sampled else r.score) is not None and name in f.metrics
        ]
        return mean(found) if found else None

    def value(self, name: str) -> float:
        """The value of a figure; 0 where there is none."""
        found = self.metric(name)
        return found.value if found is not None else 0.0

    @property
    def by_class(self) -> dict[str, float]:
        """The share of the pictures of each class that both judges recognize, over the seeds in which it is attacked.

        Where a class is a person, another seed has other people.
        """
        found: dict[str, list[float]] = {}
        for r in self.records:
            shares = r.score.by_class.get("agreed", ()) if r.score is not None else ()
            for name, value in zip(r.targets, shares, strict=False):
                found.setdefault(name, []).append(value)
        return {name: _mean(values) for name, values in found.items()}

    @property
    def worst(self) -> tuple[str, float] | None:
        """The class that the judges recognize least, over all seeds, and the share that they do."""
        return min(self.by_class.items(), key=lambda one: one[1], default=None)

    @property
    def given_away(self) -> int:
        """Number of the classes of which the judges recognize more than half of the pictures."""
        return sum(share > HALF for share in self.by_class.values())

    @property
    def per_class(self) -> float:
        """Questions for each class, over all seeds."""
        return _mean([r.per_class for r in self.records])

    @property
    def seconds(self) -> float:
        """Time in seconds, over all seeds."""
        return _mean([r.seconds for r in self.records])


@dataclass(frozen=True)
class Group:
    """The records of one study.

    Attributes:
        records: All of them.
        folder: Its folder; None where the pictures in it are of no account.
    """

    records: tuple[ClassRecord, ...]
    folder: Path | None = None

    @property
    def first(self) -> ClassRecord:
        """Any of them, for what all share."""
        return self.records[0]

    @property
    def shared(self) -> bool:
        """Whether the attacker holds samples of the victim's classes."""
        return any(r.shared for r in self.records)

    @property
    def title(self) -> str:
        """Model and data, and how many pictures an attack shows."""
        first = self.first
        known = f"{len(first.targets)} class{'es'[: 2 * (len(first.targets) != 1)]}"
        shown = f"{first.images} picture{'s'[: first.images != 1]} of each"
        return f"{first.model} on {DATASETS.label(first.data)}, {known}, {shown}"

    @property
    def anchor(self) -> str:
        """Id on the page."""
        return f"classes-{self.first.study}-{self.first.images}"

    @property
    def victims(self) -> list[Who]:
        """The victims: by epochs, the most first, and without a defense first."""
        return sorted({(r.epochs, r.defense_label) for r in self.records}, key=lambda v: (-v[0], v[1] != "none", v[1]))

    @property
    def main(self) -> Who:
        """The victim that is shown first: without a defense, where there is such a one."""
        return self.victims[0]

    @property
    def attacks(self) -> list[str]:
        """Titles of the attacks that show classes, by name."""
        return list(dict.fromkeys(r.label for r in self.records if not (r.floor or r.instances)))

    @property
    def floors(self) -> list[str]:
        """Titles of the floors, and of the ceiling, which comes first."""
        found = dict.fromkeys(r.label for r in self.records if r.floor and not r.instances)
        return sorted(found, key=lambda label: label != CEILING)

    def cell(self, who: Who, label: str) -> Cell | None:
        """One cell; None where the attack was not run there."""
        found = tuple(r for r in self.records if ((r.epochs, r.defense_label), r.label) == (who, label))
        return Cell(found) if found else None

    def cells(self, who: Who, *, floors: bool = False) -> list[Cell]:
        """The cells of a victim that have a score; of the attacks, or of ceiling and floors."""
        found = [self.cell(who, label) for label in (self.floors if floors else self.attacks)]
        return [cell for cell in found if cell is not None and cell.metric("agreed") is not None]

    def worst(self, who: Who, *accesses: str) -> Cell | None:
        """The attack by which most is recognized, by both judges; of those with such an access, if any is given."""
        cells = [cell for cell in self.cells(who) if not accesses or cell.first.access in accesses]
        return max(cells, key=lambda cell: (cell.value("agreed"), cell.value("acc@1")), default=None)

    def rebuilding(self, who: Who) -> list[Cell]:
        """The cells of attacks that rebuild single inputs from answers, and have a score."""
        labels = dict.fromkeys(r.label for r in self.records if r.instances)
        found = [self.cell(who, label) for label in labels]
        return [cell for cell in found if cell is not None and cell.metric("over floor") is not None]

    def failed(self) -> dict[tuple[str, str], list[ClassRecord]]:
        """The records without a score, by attack and reason."""
        found: dict[tuple[str, str], list[ClassRecord]] = {}
        for record in self.records:
            if record.failed:
                found.setdefault((record.label, record.failed), []).append(record)
        return found


def who_text(who: Who) -> str:
    """``label-only, after 2 epochs``."""
    epochs, defense = who
    state = "untrained" if not epochs else f"after {epochs} epoch{'s'[: epochs > 1]}"
    return f"{'no defense' if defense == 'none' else defense}, {state}"


def plain_words(attack: str) -> str:
    """What an attack does, in its own plain words; empty where it is not known here."""
    if attack == CEILING:
        return "real pictures that the model was not trained on"
    try:
        return str(CLASS_ATTACKS.load(attack).plain_words)
    except ConfigError:
        return ""


def group(records: Iterable[ClassRecord], folders: Mapping[str, Path] | None = None) -> list[Group]:
    """The studies, each with its records; those of other numbers of pictures of a class apart.

    Each attack counts once for a seed. A folder may hold the cells of several plans about one victim, and the class
    that the victim does not know is looked at in another cell where a plan begins with another seed or defense.

    Args:
        records: The records of all studies.
        folders: The folder of each study, by its id.
    """
    by_study: dict[tuple[str, int], dict[tuple[object, ...], ClassRecord]] = {}
    for record in records:
        found = by_study.setdefault((record.study, record.images), {})
        attack = record.seed, record.epochs, record.defense_label, record.label, repr(record.options)
        if attack not in found or _tells(record) > _tells(found[attack]):
            found[attack] = record
    return [Group(tuple(found.values()), (folders or {}).get(study)) for (study, _), found in by_study.items()]


def _tells(record: ClassRecord) -> tuple[bool, bool, bool]:
    return record.score is not None, record.control is not None, record.position == "thief"


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
