"""The records of a study of class-level inversion: these classes write and read its files, their fields are the keys.

The folder of a study holds `class-level.toml` (the plan), `env.json`, and in `classes` one `ID.json` for each attack on
one victim, with `ID.npz` beside it: a few of the pictures, and the private and auxiliary pictures that are nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cutlayer.records.cells import SCHEMA, Cells
from cutlayer.records.run import Estimate, Published

PLAN = "class-level.toml"
CELLS = "classes"
CEILING = "held-out"
"""The name, in place of an attack's, of real pictures of the victim's classes that the victim was not trained on."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What judges say of the pictures of all classes.

    Attributes:
        metrics: By name, of all classes together, each with an interval by bootstrap over classes; the names are those
            of `cutlayer.metrics.class_level.ClassScore`, and ``confidence``, the victim's probability of the class.
        by_class: Some of them for each class, in the order of the record's `targets`.
    """

    metrics: dict[str, Estimate]
    by_class: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Control:
    """Pictures of a class that the victim has an output for, and was never trained on.

    Attributes:
        named: Share of them that both judges take for any of the victim's classes.
        chance: That share for each of the classes, which is what a judge says right of them by chance.
    """

    named: float
    chance: float


@dataclass(frozen=True, kw_only=True)
class ClassRecord:
    """One attack on one victim.

    Attributes:
        id: Id of the cell.
        study: Id of the study.
        data: Name of the data set.
        model: Name of the model.
        epochs: Passes over the victim's training samples.
        targets: Names of the victim's classes.
        shared: Whether the attacker holds samples of the same classes.
        images: Pictures of each class.
        defense: Name of the defense.
        defense_label: Its title with its options.
        at: Where the defense acts: ``answers`` or ``cut``.
        attack: Name of the attack, or `CEILING`.
        label: Its title with its options, its position where that is not the usual one, and its budget.
        position: Where the attacker is: a name of `cutlayer.experiment.positions.POSITIONS`.
        access: What it gets of the victim: label, scores or weights.
        options: The options of the attack that the plan states.
        prior: What it takes for the space of possible pictures, where it has such an option.
        floor: Whether any attack that learns something of the victim's samples does better; also of `CEILING`.
        instances: Whether the attack rebuilds the inputs behind answers, one by one, and shows no classes.
        asked: Inputs that the attacker has asked about, in all; those asked for a prior or a start among them.
        seconds: Time of the attack, with that of what it shares with other attacks.
        accuracy: Of the victim's replies on samples of its classes that it was not trained on.
        chance: That accuracy by chance.
        judges: What each of the two judges is.
        judged: How often each judge is right of real samples.
        score: None where the attack failed.
        sampled: Pictures of the same prior that were chosen by as many questions and no search; None where the attack
            asks nothing, or has no prior.
        control: None where it was not looked at.
        failed: Why there is no score; empty where there is one.
        published: Values of the literature; None where the plan states none.
    """

    schema: int = SCHEMA
    id: str
    study: str
    name: str
    claim: str = ""
    data: str
    model: str
    seed: int
    epochs: int
    targets: tuple[str, ...]
    shared: bool = False
    images: int
    defense: str
    defense_label: str
    at: str = "answers"
    attack: str
    label: str
    position: str
    access: str
    options: dict[str, Any] = field(default_factory=dict)
    prior: str = ""
    floor: bool = False
    instances: bool = False
    asked: int = 0
    seconds: float = 0.0
    accuracy: Estimate | None = None
    chance: float = 0.0
    judges: tuple[str, ...] = ()
    judged: tuple[float, ...] = ()
    score: Figures | None = None
    sampled: Figures | None = None
    control: Control | None = None
    failed: str = ""
    published: Published | None = None

    @property
    def per_class(self) -> float:
        """Questions for each class that was shown."""
        return self.asked / max(1, len(self.targets) + (self.control is not None))


STUDY = Cells("class-level", ClassRecord, PLAN, CELLS)
begin, write, read, finished, pictures = (
    STUDY.begin, STUDY.write, STUDY.read, STUDY.finished, STUDY.pictures
)  # fmt: skip
"""How the cells of a study of class-level inversion are written and read.

Its pictures are ``rebuilt``, ``private`` and ``auxiliary``, ``(classes, shown, *input.shape)`` each, and ``classes``,
the numbers of the classes in the record's `targets`.
"""
