"""The victim of a study of class-level inversion, and its defense, as frozen data."""

from dataclasses import asdict, dataclass, fields
from typing import Annotated

from cutlayer.experiment import study_plan
from cutlayer.models.start import RANDOM, Start
from cutlayer.options import LearningRate, Whole, Within
from cutlayer.registry import ANSWER_DEFENSES, DATASETS, DEFENSES, Registry
from cutlayer.tables import Named, Options

ANSWERS, CUT = "answers", "cut"
PLACES: dict[str, Registry] = {ANSWERS: ANSWER_DEFENSES, CUT: DEFENSES}
"""Where a defense acts, and the names that it may have there."""


@dataclass(frozen=True)
class Placed:
    """A defense, and where it acts.

    Attributes:
        of: The defense.
        at: `ANSWERS` for one of `cutlayer list answer-defenses`, `CUT` for one of smashed data.
    """

    of: Named
    at: str = ANSWERS

    @property
    def label(self) -> str:
        """Title in records and tables."""
        return f"{self.of.label} at the cut" if self.at == CUT else self.of.label


@dataclass(frozen=True)
class Lessons:
    """How the victim is trained; a defense may train it in another way with the same settings.

    Attributes:
        lr: The greatest learning rate of the cycle.
        images: The first so many of the samples of its classes; 0 for all.
        clients: Clients that train it together by federated averaging, each of whose rounds is one of the epochs; 0
            for a training in one place.
    """

    lr: LearningRate = 2e-3
    images: Whole = 0
    clients: Annotated[int, Within(0, 10_000)] = 0


@dataclass(frozen=True)
class Victim:
    """What all cells of a study share. Equal ones have equal ids, and their finished cells lie in one folder.

    Attributes:
        data: A name from `cutlayer list datasets`, or a path.
        model: A name from `cutlayer list models`.
        withhold: Names of the victim's classes, of which the attacker has no sample; empty for the classes as the data
            set deals them: all of the training part.
        input: Size of the images, for data by path.
        start: How the model begins.
        training: How the victim's model is trained.
        cut: Where it is cut; empty where it is not.
        auxiliary: The first so many of the attacker's own samples; 0 for all.
        auxiliary_data: Data set whose auxiliary part the attacker holds; that of the victim if empty.
    """

    data: str
    model: str
    withhold: tuple[str, ...] = ()
    input: str = ""
    start: Start = RANDOM
    training: Lessons = Lessons()
    cut: str = ""
    auxiliary: Whole = 0
    auxiliary_data: str = ""

    @property
    def identity(self) -> Options:
        """Everything that determines it, as plain values."""
        parts: Options = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("start", "training")}
        parts |= study_plan.identity(self.data, self.model, self.start)
        if self.auxiliary_data:
            parts["auxiliary_data"] = DATASETS.identity(self.auxiliary_data)
        return parts | {"training": {k: v for k, v in asdict(self.training).items() if v or k != "clients"}}

    @property
    def id(self) -> str:
        """12 hex digits."""
        return study_plan.digest({"kind": "class-level", **self.identity})
