"""Plans of studies of attacks on updates: which attacks meet which updates under which defenses, as frozen data.

data = "mnist"
model = "dlg_lenet"
epochs = [0, 2]               # the victim's model is untrained, and after 2 passes

[[update]]
samples = [1, 8, 32]

[[defense]]
name = "none"

[[attack]]
name = "mean"
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

from cutlayer import own
from cutlayer.attacks.gradients.floors import BATCH_MEAN, FLOORS, NEAREST
from cutlayer.errors import ConfigError
from cutlayer.experiment import study_plan
from cutlayer.experiment.spec import Training
from cutlayer.experiment.study_plan import check_differ, check_known, check_top, digest, entries, identified
from cutlayer.models.start import RANDOM, Start
from cutlayer.options import Count, LearningRate, Seed, Whole, Within, check
from cutlayer.registry import UPDATE_ATTACKS, UPDATE_DEFENSES
from cutlayer.tables import Named, Options, listed, named, only, read, record, set_value, tables

KNOWS = ("architecture", "defense", "labels")
"""What an attacker may be granted."""
OF = ("client", "sum")


@dataclass(frozen=True)
class UpdateKind:
    """How an update is made.

    Attributes:
        samples: Samples of a client.
        steps: Its local steps of SGD; 0 for one gradient of all samples.
        batch: Samples in each local step; 0 for all.
        lr: Learning rate of the local steps.
    """

    samples: Annotated[int, Within(1, 65_536)] = 1
    steps: Annotated[int, Within(0, 10_000)] = 0
    batch: Annotated[int, Within(0, 65_536)] = 0
    lr: LearningRate = 0.1


@dataclass(frozen=True)
class Attacker:
    """An attack, what the attacker is granted, and which updates it meets.

    Attributes:
        attack: The attack; with `floor` one of `cutlayer.attacks.gradients.floors.FLOORS`.
        knows: What is granted beside the updates and the broadcast model: names of `KNOWS`.
        images: Private samples that are attacked, at least: as many updates are made as hold them.
        at: Numbers of samples of an update at which the attack is run; empty for all.
        after: Epochs of the victim's model after which it is run; empty for all.
        against: Names of the defenses that it meets; empty for all.
        of: Whether each ``client``'s update is attacked, or the ``sum`` of the updates of all clients of a round, which
            is all that secure aggregation leaves.
        floor: Whether it is no attack, but what an attack has to beat.
    """

    attack: Named
    knows: tuple[str, ...] = ("architecture", "defense")
    images: Count = 64
    at: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    against: tuple[str, ...] = ()
    of: str = "client"
    floor: bool = False

    @property
    def label(self) -> str:
        """Title in records and tables: the attack, and what the attacker is granted beyond the usual, or not."""
        told = "" if self.floor or "defense" in self.knows else "not told the defense"
        parts = [self.attack.label, "told the labels" if "labels" in self.knows else "", told]
        return ", ".join(filter(None, [*parts, "of the sum" if self.of == "sum" else ""]))

    def meets(self, epochs: int, kind: UpdateKind, defense: Named) -> bool:
        """Whether the attack is run there."""
        return (
            (not self.at or kind.samples in self.at)
            and (not self.after or epochs in self.after)
            and (not self.against or defense.name in self.against)
        )


OWN_KEYS = tuple(f.name for f in fields(Attacker) if f.name not in ("attack", "floor"))
"""The keys of an [[attack]] beside the options of the attack itself."""


@dataclass(frozen=True)
class PublishedUpdate:
    """A value of the literature, shown beside ours."""

    attack: str
    source: str
    defense: str = "none"
    samples: Count = 1
    psnr: float | None = None
    ssim: float | None = None
    mse: float | None = None
    labels: float | None = None
    features: float | None = None


@dataclass(frozen=True)
class Victim:
    """What all cells of a study share. Equal ones have equal ids, and their finished cells lie in one folder.

    Attributes:
        data: A name from `cutlayer list datasets`, or a path.
        model: A name from `cutlayer list models`.
        input: Size of the images, for data by path.
        start: How the model begins.
        training: How the victim's model is trained, if it is.
        auxiliary: The first so many of the attacker's own samples; 0 for all.
        clients: Clients of one round, whose updates are summed or mixed where an attack or a defense does so.
    """

    data: str
    model: str
    input: str = ""
    start: Start = RANDOM
    training: Training = field(default_factory=Training)
    auxiliary: Whole = 2000
    clients: Annotated[int, Within(2, 1000)] = 4

    @property
    def identity(self) -> Options:
        """Everything that determines it, as plain values."""
        parts: Options = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("start", "training")}
        parts |= study_plan.identity(self.data, self.model, self.start)
        training = asdict(replace(self.training, epochs=0))
        # Older studies know no `whole`.
        return parts | {"training": {key: value for key, value in training.items() if key != "whole" or value}}

    @property
    def id(self) -> str:
        """12 hex digits."""
        return digest({"kind": "gradients", **self.identity})


@dataclass(frozen=True)
class Cell:
    """One attack on updates of one kind, by clients with one defense. Equal cells have equal ids."""

    victim: Victim
    seed: int
    epochs: int
    kind: UpdateKind
    defense: Named
    attacker: Attacker

    @property
    def id(self) -> str:
        """12 hex digits over what decides on the result; titles do not count."""
        attacker = {key: getattr(self.attacker, key) for key in ("knows", "images", "of", "floor")}
        attack = self.attacker.attack
        return digest(
            {
                "victim": self.victim.identity,
                "seed": self.seed,
                "epochs": self.epochs,
                "kind": asdict(self.kind),
                "defense": identified(self.defense, UPDATE_DEFENSES),
                "attack": {"name": attack.name} if self.attacker.floor else identified(attack, UPDATE_ATTACKS),
                **attacker,
            }
        )

    @property
    def updates(self) -> int:
        """Number of updates that are attacked; of sums, the number of sums."""
        of_each = self.kind.samples * (self.victim.clients if self.attacker.of == "sum" else 1)
        return -(-self.attacker.images // of_each)

    def __str__(self) -> str:
        steps = f", {self.kind.steps} local steps" if self.kind.steps else ""
        where = f"B {self.kind.samples}{steps}, {self.epochs} epochs, seed {self.seed}"
        return f"{self.attacker.label} on {self.defense.label}, {where}"


@dataclass(frozen=True)
class GradientPlan:
    """A whole study.

    Attributes:
        victim: What all cells share.
        seeds: Seeds of the data, the model, the defenses' draws and the attackers' draws.
        epochs: Passes over the training samples after which the victim's model is attacked.
        kinds: How updates are made.
        defenses: The clients' defenses.
        attackers: The attacks.
        published: Values of the literature.
        name: Name for readers.
        claim: What the study is to show, for readers.
    """

    victim: Victim
    seeds: tuple[int, ...]
    epochs: tuple[int, ...]
    kinds: tuple[UpdateKind, ...]
    defenses: tuple[Named, ...]
    attackers: tuple[Attacker, ...]
    published: tuple[PublishedUpdate, ...] = ()
    name: str = "gradients"
    claim: str = ""

    def cells(self) -> list[Cell]:
        """Every cell, those of one model and one defense together; the floors come before the attacks."""
        settings = itertools.product(self.seeds, self.epochs, self.defenses, self.kinds)
        found = (Cell(self.victim, s, e, k, d, a) for s, e, d, k in settings for a in self._attackers(e, k, d))
        return list({cell.id: cell for cell in found}.values())

    def _attackers(self, epochs: int, kind: UpdateKind, defense: Named) -> Iterator[Attacker]:
        met = [a for a in self.attackers if a.meets(epochs, kind, defense)]
        # The mean of a batch of one is the sample itself. A defense can only hide the gradients to which own ones are
        # compared, and the search among them takes as long as a closed form.
        left_out = ({BATCH_MEAN} if kind.samples == 1 else set()) | ({NEAREST} if defense.name != "none" else set())
        for name in [name for name in FLOORS if met and name not in left_out]:
            yield Attacker(Named(name), knows=(), images=max(a.images for a in met), floor=True)
        for attacker in met:
            # Where there is no defense, there is nothing to be told.
            told = {*attacker.knows, "defense"} if defense.name == "none" else {*attacker.knows}
            yield replace(attacker, knows=tuple(sorted(told)), at=(), after=(), against=())


def load(path: Path, settings: Mapping[str, str] | None = None) -> GradientPlan:
    """Read a plan from a file, and change it by settings such as ``{"epochs": "0"}``.

    Raises:
        ConfigError: A key, name, option or type is unknown; the message lists the near ones.
    """
    table = read(path, "plan")
    if "protocol" in table or "cut" in table:
        command = "train" if "protocol" in table else "run"
        raise ConfigError(f"{path} is no plan of a study of updates; run it with `cutlayer {command} {path}`.")
    for key, text in (settings or {}).items():
        set_value(table, key, text, _known(), "a plan of a study of updates")
    try:
        return parse(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(table: Mapping[str, Any]) -> GradientPlan:
    """The plan in a table.

    Raises:
        ConfigError: See `load`.
    """
    only(table, {*KEYS, *_LISTS}, "key")
    check_top(table)
    name, start = study_plan.model(table["model"])
    how = table.get("training", {})
    types = {f.name: f.type for f in fields(Victim)}
    for key in ("auxiliary", "clients"):
        check(key, types[key], table.get(key, getattr(Victim("", ""), key)))
    victim = Victim(
        data=table["data"], model=name, start=start, training=record(Training, how, "training"),
        **{key: table[key] for key in ("input", "auxiliary", "clients") if key in table},
    )  # fmt: skip
    kinds = [record(UpdateKind, entry, "update") for entry in entries("update", table, {"samples": 1})]
    defenses = tuple(named(UPDATE_DEFENSES, table.get("defense", {"name": "none"})))
    attackers = tuple(_attackers(table.get("attack", {"name": "mean"}), kinds, defenses))
    check_differ([d.label for d in defenses], [a.label for a in attackers])
    texts = {key: table[key] for key in ("name", "claim") if key in table}
    plan = GradientPlan(
        victim,
        seeds=tuple(listed("seed", Seed, table.get("seed", 0), some=True)),
        epochs=tuple(listed("epochs", Annotated[int, Within(0, 100_000)], table.get("epochs", 0), some=True)),
        kinds=tuple(kinds),
        defenses=defenses,
        attackers=attackers,
        published=tuple(record(PublishedUpdate, e, "published") for e in entries("published", table)),
        **texts,
    )
    if not plan.cells():
        raise ConfigError("No attack is run: what its `at`, `after` and `against` name comes nowhere together.")
    return plan


def attackers_named(names: Sequence[str]) -> tuple[Attacker, ...]:
    """Attacks by name, with their default options and the usual grants.

    Raises:
        ConfigError: There is no attack of that name.
    """
    resolved = [{"name": own.resolved(name, Path.cwd())} for name in names]
    return tuple(Attacker(found) for found in named(UPDATE_ATTACKS, resolved))


def _attackers(listed_attacks: Any, kinds: list[UpdateKind], defenses: tuple[Named, ...]) -> Iterator[Attacker]:
    known: dict[str, set[Any]] = {
        "knows": {*KNOWS},
        "at": {kind.samples for kind in kinds},
        "against": {defense.name for defense in defenses},
    }
    types: dict[str, Any] = {"knows": str, "against": str, "at": int, "after": int}
    for entry in tables("attack", listed_attacks):
        meets = {key: entry[key] for key in OWN_KEYS if key in entry}
        for key, kind in types.items():
            if key in meets:
                meets[key] = tuple(listed(f"attack.{key}", kind, meets[key]))
        for key, accepted in known.items():
            check_known(f"attack.{key}", meets.get(key, ()), accepted)
        if meets.get("of", "client") not in OF:
            raise ConfigError(f"attack.of must be {' or '.join(OF)}; {meets['of']!r:.80} was given.")
        check("attack.images", Count, meets.get("images", 1))
        for attack in named(UPDATE_ATTACKS, {key: entry[key] for key in entry if key not in meets}):
            yield Attacker(attack, **meets)


_LISTS = ("update", "defense", "attack", "published", "training")
KEYS = ("name", "claim", "data", "input", "model", "auxiliary", "clients", "epochs", "seed")
"""The keys of a plan that are no lists of tables."""


def _known() -> list[str]:
    return [*KEYS, *(f"training.{f.name}" for f in fields(Training) if f.name != "epochs")]


def toml(plan: GradientPlan) -> str:
    """The plan as a file that `load` reads back to the same cells."""
    victim = plan.victim
    start = {key: value for key, value in asdict(victim.start).items() if value}
    top: Options = {
        "name": plan.name, "claim": plan.claim, "data": victim.data, "input": victim.input,
        "auxiliary": victim.auxiliary, "clients": victim.clients, "epochs": plan.epochs, "seed": plan.seeds,
    }  # fmt: skip
    sections: list[tuple[str, Options]] = [
        ("[model]", {"name": victim.model, **start}),
        ("[training]", {k: v for k, v in asdict(victim.training).items() if k != "epochs"}),
        *(("[[update]]", asdict(kind)) for kind in plan.kinds),
        *(("[[defense]]", study_plan.entry(defense)) for defense in plan.defenses),
        *(("[[attack]]", study_plan.entry(a.attack) | _changed(a)) for a in plan.attackers),
        *(("[[published]]", {k: v for k, v in asdict(p).items() if v is not None}) for p in plan.published),
    ]
    return study_plan.toml(top, sections)


def _changed(attacker: Attacker) -> Options:
    usual = {f.name: f.default for f in fields(attacker) if f.name in OWN_KEYS and f.default is not MISSING}
    return {key: getattr(attacker, key) for key, default in usual.items() if getattr(attacker, key) != default}
