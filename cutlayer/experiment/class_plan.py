"""Plans of studies of class-level inversion: which attackers ask or hold which victims under which defenses.

data = "mnist"
withhold = ["5", "6", "7", "8", "9"]   # the victim's classes, of which the attacker has no sample
model = "lenet"
epochs = 2
images = 20                            # pictures that an attack shows of each class

[[defense]]
name = "none"

[[attack]]
name = "nearest-auxiliary"
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from cutlayer.attacks.answers.base import AnswerAttack
from cutlayer.attacks.answers.view import Reply
from cutlayer.errors import ConfigError
from cutlayer.experiment import study_plan
from cutlayer.experiment.class_spec import ANSWERS, CUT, PLACES, Lessons, Placed, Victim
from cutlayer.experiment.positions import POSITIONS, misplaced
from cutlayer.experiment.study_plan import check_differ, check_known, check_top, digest, entries, identified
from cutlayer.nets.explanations import EXPLANATIONS
from cutlayer.options import Count, Seed, Whole, Within, check
from cutlayer.records.class_level import CEILING
from cutlayer.registry import ANSWER_DEFENSES, CLASS_ATTACKS, DATASETS, Missing
from cutlayer.tables import Named, Options, listed, named, only, read, record, set_value, tables

WHAT = "a plan of a study of class-level inversion"
FLOORS = ("nearest-auxiliary", "mean-auxiliary")
"""Attacks that are run on every victim: nothing counts that is no better."""
Epochs = Annotated[int, Within(0, 100_000)]


@dataclass(frozen=True)
class Attacker:
    """An attack, where the attacker is, and which victims it meets.

    Attributes:
        attack: The attack, or `CEILING`.
        position: A name of `POSITIONS`.
        access: What it gets of the victim: label, scores or weights.
        budget: Inputs that it may ask about, in all; None for any number.
        explanations: What the service explains each answer with: a name of `cutlayer.nets.explanations.EXPLANATIONS`;
            empty for nothing.
        after: Epochs of the victim after which it is run; empty for all.
        against: Names of the defenses that it meets; empty for all.
        floor: Whether the study runs it by itself.
    """

    attack: Named
    position: str
    access: str
    budget: int | None = None
    explanations: str = ""
    after: tuple[int, ...] = ()
    against: tuple[str, ...] = ()
    floor: bool = False

    @property
    def label(self) -> str:
        """Title in records and tables: the attack, and what differs from the usual."""
        if self.floor:
            return self.attack.label
        usual, needs = usual_position(self.attack.name), needed(self.attack.name).label
        parts = [self.attack.label, f"as {POSITIONS[self.position].title}" if self.position != usual else ""]
        parts += [f"with {self.access}" if self.access != needs else ""]
        parts += [f"with explanations ({self.explanations})" if self.explanations else ""]
        parts += [f"at most {self.budget:,} questions" if self.budget is not None else ""]
        return ", ".join(filter(None, parts))

    def meets(self, epochs: int, defense: Placed) -> bool:
        """Whether the attack is run there."""
        return (not self.after or epochs in self.after) and (not self.against or defense.of.name in self.against)


@dataclass(frozen=True)
class PublishedClass:
    """A value of the literature, shown beside ours.

    Attributes:
        closed: Share of the pictures that a judge calls right which knows the victim's classes alone, as in the papers.
    """

    attack: str
    source: str
    defense: str = "none"
    closed: float | None = None


@dataclass(frozen=True)
class Cell:
    """One attack on one victim. Equal cells have equal ids.

    Attributes:
        images: Pictures of each class.
        control: Whether the attack also shows a class that the victim was never trained on.
    """

    victim: Victim
    seed: int
    epochs: int
    defense: Placed
    attacker: Attacker
    images: int
    control: bool = False

    @property
    def id(self) -> str:
        """12 hex digits over what decides on the result; titles do not count."""
        attack, defense = self.attacker.attack, self.defense
        return digest(
            {
                "victim": self.victim.identity,
                "seed": self.seed,
                "epochs": self.epochs,
                "defense": identified(defense.of, PLACES[defense.at]) | {"at": defense.at},
                "attack": {"name": CEILING} if attack.name == CEILING else identified(attack, CLASS_ATTACKS),
                **{key: getattr(self.attacker, key) for key in _DECIDES},
                "images": self.images,
                "control": self.control,
            }
        )

    @property
    def instances(self) -> bool:
        """Whether the attack rebuilds the inputs behind answers, and does not show classes."""
        name = self.attacker.attack.name
        return name != CEILING and issubclass(CLASS_ATTACKS.load(name), AnswerAttack)

    def __str__(self) -> str:
        return f"{self.attacker.label} on {self.defense.label}, {self.epochs} epochs, seed {self.seed}"


@dataclass(frozen=True)
class ClassPlan:
    """A whole study.

    Attributes:
        victim: What all cells share.
        seeds: Seeds of the data, the model, the defenses' draws and the attackers' draws.
        epochs: Passes over the training samples after which the victim is attacked.
        images: Pictures that an attack shows of each class.
        access: What the server replies to a question: scores, or label.
        defenses: The victim's defenses.
        attackers: The attacks.
        published: Values of the literature.
        name: Name for readers.
        claim: What the study is to show, for readers.
    """

    victim: Victim
    seeds: tuple[int, ...]
    epochs: tuple[int, ...]
    defenses: tuple[Placed, ...]
    attackers: tuple[Attacker, ...]
    images: int = 5
    access: str = Reply.SCORES.label
    published: tuple[PublishedClass, ...] = ()
    name: str = "class-level"
    claim: str = ""

    def cells(self) -> list[Cell]:
        """Every cell, those of one victim together; ceiling and floors come before the attacks."""
        settings = itertools.product(self.seeds, self.epochs, self.defenses)
        return list({cell.id: cell for s, e, d in settings for cell in self._cells(s, e, d)}.values())

    def _cells(self, seed: int, epochs: int, defense: Placed) -> Iterator[Cell]:
        met = [replace(a, after=(), against=()) for a in self.attackers if a.meets(epochs, defense)]
        # A class that the victim does not know is looked at once.
        first = (seed, epochs, defense) == (self.seeds[0], self.epochs[-1], self.defenses[0])
        for attacker in [*_floors(), *met] if met else ():
            cell = Cell(self.victim, seed, epochs, defense, attacker, self.images)
            yield replace(cell, control=first and not attacker.floor and not cell.instances)

    def granted(self, attacker: Attacker, defense: Placed) -> Reply:
        """What an attacker gets of a victim with this defense."""
        most = POSITIONS[attacker.position].grants
        if most is Reply.WEIGHTS:
            return most
        told = Reply.named(self.access)
        labels = defense.at == ANSWERS and ANSWER_DEFENSES.make(defense.of.name, **defense.of.options).label_only
        return min(most, Reply.LABEL if labels else told)


def _floors() -> Iterator[Attacker]:
    # A floor is no attack: it gets all that there is, whatever the server replies.
    for name in (CEILING, *FLOORS):
        yield Attacker(Named(name), position="thief", access=Reply.SCORES.label, floor=True)


def needed(attack: str) -> Reply:
    """The least that an attack must get of the victim.

    Raises:
        ConfigError: The attack is a user's own, and does not say it.
    """
    needs = getattr(CLASS_ATTACKS.load(attack), "needs", None)
    if not isinstance(needs, Reply):
        raise ConfigError(
            f"{attack} does not say what it must get of the victim: needs = Reply.LABEL, Reply.SCORES or Reply.WEIGHTS "
            "in the body of the class, with Reply from cutlayer.attacks.answers.view."
        )
    return needs


def usual_position(attack: str) -> str:
    """Where an attacker is unless a plan says otherwise: outside, or with the weights in hand where it needs them."""
    return "thief" if needed(attack) is Reply.WEIGHTS else "outsider"


def refusal(attack: str, granted: Reply) -> str:
    """Why an attack cannot be run with what is granted, and which ones can; empty where it can."""
    if needed(attack) <= granted:
        return ""
    known = [name for name in CLASS_ATTACKS if not issubclass(CLASS_ATTACKS.load(name), Missing)]
    works = [name for name in known if needed(name) <= granted and not CLASS_ATTACKS.load(name).is_floor]
    told = "the label of each input" if granted is Reply.LABEL else granted.label
    instead = f"these work: {', '.join(works)}" if works else "no attack works with less"
    return f"{attack} needs the victim's {needed(attack).label}, and gets no more than {told} here; {instead}."


def load(path: Path, settings: Mapping[str, str] | None = None) -> ClassPlan:
    """Read a plan from a file, and change it by settings such as ``{"epochs": "1"}``.

    Raises:
        ConfigError: A key, name, option or type is unknown; the message lists the near ones.
    """
    table = read(path, "plan")
    for key, command in (("protocol", "train"), ("update", "gradients"), ("deployment", "run"), ("measure", "run")):
        if key in table:
            raise ConfigError(f"{path} is not {WHAT}; run it with `cutlayer {command} {path}`.")
    for key, text in (settings or {}).items():
        set_value(table, key, text, _known(), WHAT)
    try:
        return parse(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(table: Mapping[str, Any]) -> ClassPlan:
    """The plan in a table.

    Raises:
        ConfigError: See `load`.
    """
    only(table, {*KEYS, *_LISTS}, "key")
    check_top(table)
    name, start = study_plan.model(table["model"])
    for key, kind in _TYPES.items():
        if key in table:
            check(key, kind, table[key])
    access = Reply.named(table.get("access", Reply.SCORES.label))
    if access is Reply.WEIGHTS:
        raise ConfigError("access is what the server replies to a question: label or scores. A thief has weights.")
    if (other := table.get("auxiliary_data")) and not DATASETS.takes(other):
        _ = DATASETS[other]
    victim = Victim(
        data=table["data"], model=name, start=start,
        training=record(Lessons, table.get("training", {}), "training"),
        withhold=tuple(listed("withhold", str, table.get("withhold", []))),
        **{key: table[key] for key in ("input", "cut", "auxiliary", "auxiliary_data") if key in table},
    )  # fmt: skip
    defenses = tuple(_defenses(table.get("defense", {"name": "none"})))
    if any(d.at == CUT for d in defenses) and not victim.cut:
        raise ConfigError("A defense acts at the cut, and the plan names none: cut = NAME, from `cutlayer cuts`.")
    epochs = tuple(listed("epochs", Epochs, table.get("epochs", 2), some=True))
    attackers = tuple(_attackers(table.get("attack", {"name": FLOORS[0]}), epochs, defenses))
    check_differ([d.label for d in defenses], [a.label for a in attackers])
    plan = ClassPlan(
        victim,
        seeds=tuple(listed("seed", Seed, table.get("seed", 0), some=True)),
        epochs=epochs,
        defenses=defenses,
        attackers=attackers,
        published=tuple(record(PublishedClass, e, "published") for e in entries("published", table)),
        **{key: table[key] for key in ("name", "claim", "images", "access") if key in table},
    )
    if not plan.cells():
        raise ConfigError("No attack is run: what its `after` and `against` name comes nowhere together.")
    for defense in defenses:
        if not any(attacker.meets(e, defense) for e in epochs for attacker in attackers):
            raise ConfigError(f"No attack meets the defense {defense.label!r}; add it to the `against` of one.")
    for attacker in attackers:
        if why := misplaced(attacker.position, cut=bool(victim.cut), together=bool(victim.training.clients)):
            raise ConfigError(why)
        met = [plan.granted(attacker, d) for e in epochs for d in defenses if attacker.meets(e, d)]
        if met and (why := refusal(attacker.attack.name, max(met))):
            if not attacker.against and all(d.of.name != "none" for d in defenses):
                why += ' The plan names defenses, and "none" is not among them; add it to attack the undefended model.'
            raise ConfigError(why)
    return plan


def _defenses(listed_defenses: Any) -> Iterator[Placed]:
    for entry in tables("defense", listed_defenses):
        at = entry.get("at", ANSWERS)
        check("defense.at", str, at)
        check_known("defense.at", [at], PLACES)
        name = entry.get("name")
        for place, known in PLACES.items():
            if isinstance(name, str) and place != at and known.takes(name) and not PLACES[at].takes(name):
                raise ConfigError(f'The defense {name!r} acts elsewhere; write at = "{place}" beside its name.')
        for defense in named(PLACES[at], {key: value for key, value in entry.items() if key != "at"}):
            yield Placed(defense, at)


def _attackers(listed_attacks: Any, epochs: Sequence[int], defenses: Sequence[Placed]) -> Iterator[Attacker]:
    known: dict[str, set[Any]] = {"against": {defense.of.name for defense in defenses}, "after": {*epochs}}
    for entry in tables("attack", listed_attacks):
        own = {key: entry[key] for key in OWN_KEYS if key in entry}
        meets: dict[str, Any] = {
            key: tuple(listed(f"attack.{key}", kind, own.get(key, []))) for key, kind in _MEETS.items()
        }
        for key, accepted in known.items():
            check_known(f"attack.{key}, which takes {_TAKES[key]} of this plan,", meets[key], accepted)
        budgets: list[int | None] = [None]
        if "budget" in own:
            budgets = listed("attack.budget", int, own["budget"], some=True)
            if any(isinstance(budget, int) and budget < 1 for budget in budgets):
                raise ConfigError(
                    "attack.budget is the number of inputs that the attacker may ask about, at least 1; leave it out "
                    f"for any number. {own['budget']!r:.80} was given."
                )
        for attack in named(CLASS_ATTACKS, {key: value for key, value in entry.items() if key not in OWN_KEYS}):
            usual, needs = usual_position(attack.name), needed(attack.name)
            positions = listed("attack.position", str, own.get("position", usual), some=True)
            check_known("attack.position", positions, POSITIONS)
            check("attack.access", str, own.get("access", ""))
            access = Reply.named(own["access"]) if "access" in own else needs
            explanations = own.get("explanations", "")
            check("attack.explanations", str, explanations)
            check_known("attack.explanations", [explanations] if explanations else [], EXPLANATIONS)
            if why := refusal(attack.name, access):
                raise ConfigError(why)
            for position, budget in itertools.product(positions, budgets):
                if access > POSITIONS[position].grants:
                    raise ConfigError(
                        f"{attack.label} gets the victim's {access.label}, which an attacker as "
                        f"{POSITIONS[position].title} does not have; choose another position, or less access."
                    )
                yield Attacker(attack, position, access.label, budget, explanations, **meets)


_TYPES: dict[str, Any] = {"cut": str, "auxiliary_data": str, "auxiliary": Whole, "images": Count, "access": str}
_DECIDES = ("position", "access", "budget", "explanations", "floor")
"""What decides on the result of an attacker beside the attack."""
_MEETS: dict[str, Any] = {"after": int, "against": str}
_TAKES = {"after": "epochs", "against": "defenses"}
OWN_KEYS = tuple(f.name for f in fields(Attacker) if f.name not in ("attack", "floor"))
"""The keys of an [[attack]] beside the options of the attack itself."""
_LISTS = ("defense", "attack", "published", "training")
KEYS = (
    "name", "claim", "data", "withhold", "input", "model", "cut", "auxiliary", "auxiliary_data", "epochs", "seed",
    "images", "access",
)  # fmt: skip
"""The keys of a plan that are no lists of tables."""


def _known() -> list[str]:
    return [*KEYS, *(f"training.{f.name}" for f in fields(Lessons))]


def toml(plan: ClassPlan) -> str:
    """The plan as a file that `load` reads back to the same cells."""
    victim = plan.victim
    start = {key: value for key, value in asdict(victim.start).items() if value}
    top: Options = {
        "name": plan.name, "claim": plan.claim, "data": victim.data, "withhold": victim.withhold or "",
        "input": victim.input, "cut": victim.cut, "auxiliary": victim.auxiliary,
        "auxiliary_data": victim.auxiliary_data, "epochs": plan.epochs, "seed": plan.seeds, "images": plan.images,
        "access": plan.access,
    }  # fmt: skip
    sections: list[tuple[str, Options]] = [
        ("[model]", {"name": victim.model, **start}),
        ("[training]", asdict(victim.training)),
        *(("[[defense]]", study_plan.entry(d.of) | ({"at": d.at} if d.at != ANSWERS else {})) for d in plan.defenses),
        *(("[[attack]]", study_plan.entry(a.attack) | _changed(a)) for a in plan.attackers),
        *(("[[published]]", {k: v for k, v in asdict(p).items() if v is not None}) for p in plan.published),
    ]
    return study_plan.toml(top, sections)


def _changed(attacker: Attacker) -> Options:
    usual = {f.name: f.default for f in fields(attacker) if f.name in OWN_KEYS and f.default is not MISSING}
    usual |= {"position": usual_position(attacker.attack.name), "access": needed(attacker.attack.name).label}
    return {key: getattr(attacker, key) for key, default in usual.items() if getattr(attacker, key) != default}
