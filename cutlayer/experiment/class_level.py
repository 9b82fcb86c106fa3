"""A study of class-level inversion, cell by cell: each finished cell is a record, so that a killed study goes on.

An attack never meets a judge: it gets a `ClassView` of the victim, and what it returns is judged afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.attacks.answers.base import AnswerAttack, ClassAttack
from cutlayer.attacks.answers.prior_of import PRIORS
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.data.modality import IMAGE, TABLE, TOKENS
from cutlayer.data.withheld import ClassData
from cutlayer.errors import ConfigError, CutlayerError, DataError
from cutlayer.experiment.class_plan import FLOORS, Cell, ClassPlan, PublishedClass, refusal, toml
from cutlayer.experiment.class_victim import ClassVictim, check_model, load_classes, train_victim
from cutlayer.experiment.positions import seen_from
from cutlayer.experiment.study_cells import left_by_victim
from cutlayer.machine.compute import pick_device, tune_allocator
from cutlayer.machine.files import check_writable
from cutlayer.machine.identity import environment
from cutlayer.machine.lock import only_one
from cutlayer.metrics.interval import resampled
from cutlayer.nets.explanations import EXPLANATIONS
from cutlayer.privacy.instances import scored, seen_of, victims_inputs
from cutlayer.privacy.judges import Judges, ceiling, chance, class_judges, judged, nearest
from cutlayer.records import class_level as records
from cutlayer.records.class_level import CEILING, ClassRecord, Control, Figures
from cutlayer.records.run import Published
from cutlayer.registry import CLASS_ATTACKS

Say = Callable[[str], None]
SHOWN, CLASSES_SHOWN = 3, 10
"""Pictures of a class, and classes, of which a cell keeps pictures."""
CLASS_MEAN = "class-mean"
"""The floor of attacks that rebuild single inputs: an answer names the class in any case."""
_INSTEAD = {
    TABLE.name: " What a model tells of one column of the rows that it was trained on: benchmarks/table_attributes.py.",
    TOKENS: " What is read of sentences on their way: `cutlayer run experiments/split-text.toml`.",
}
"""What there is for samples that are no pictures, by their kind."""
SAMPLING = "sampling"
"""The floor that asks as much as an attack, and searches nothing."""


@dataclass
class _Target:
    """A victim, its judges, and what attackers at one place share.

    Attributes:
        kept: What attacks with equal positions and replies have kept, by position and reply.
    """

    victim: ClassVictim
    judges: Judges
    kept: dict[tuple[str, str], dict[Any, Any]] = field(default_factory=dict)

    @property
    def data(self) -> ClassData:
        """The classes."""
        return self.victim.data

    @cached_property
    def private(self) -> list[int]:
        """The numbers of the victim's classes."""
        return list(range(self.data.n_private))

    def told(self, seed: int = 0) -> AbstractContextManager[ClassView]:
        """What a floor may touch: it is told all scores, whatever the server replies."""
        kept = self.kept.setdefault(("thief", Reply.SCORES.label), {})
        return seen_from(
            "thief", self.victim, reply=Reply.SCORES, targets=tuple(self.private), seed=seed, kept=kept,
            device=pick_device(),
        )  # fmt: skip

    def strangers(self, k: int) -> Tensor:
        """The attacker's samples that the victim takes most surely for each class: distances are measured from them."""
        if k not in self._strangers:
            attack = CLASS_ATTACKS.make(FLOORS[0])
            with self.told() as view:
                self._strangers[k] = attack.represent(view, k)
        return self._strangers[k]

    @cached_property
    def _strangers(self) -> dict[int, Tensor]:
        return {}


def study(
    plan: ClassPlan, *, out: Path, data_root: Path | None = None, say: Say, tell: Say, resume: bool = True
) -> list[ClassRecord]:
    """Run every cell of the plan that is not finished, and return the records of all, in the order of the plan.

    A cell whose attack fails or is refused is recorded with the reason, and tried again by a later call.

    Args:
        plan: The plan.
        out: Folder of all runs; that of the study is named after its id.
        data_root: Folder of the data sets that are not embedded.
        say: Called with each line of progress.
        tell: Called with a line for each finished cell.
        resume: Whether finished cells are kept.

    Raises:
        ConfigError, DataError: The plan cannot be run on these data; found before anything is trained or written.
        WriteError: A record cannot be written.
    """
    folder, cells = out / plan.victim.id, plan.cells()
    check_writable(folder, "folder")
    tune_allocator()
    data = {seed: load_classes(plan.victim, seed, data_root) for seed in plan.seeds}
    for one in data.values():
        _check(plan, one)
    threads = torch.get_num_threads()
    records.begin(folder, toml(plan), environment(edge=threads, cloud=threads))
    done, judges = dict[str, ClassRecord](), dict[int, Judges]()
    with only_one(folder, say=say):
        for left in left_by_victim(cells, lambda id: records.finished(folder, id) if resume else None, done):
            seed, epochs, defense = left[0].seed, left[0].epochs, left[0].defense
            if seed not in judges:
                judges[seed] = class_judges(data[seed], seed, runs=out, say=say)
            try:
                victim = train_victim(plan.victim, seed, epochs, defense, data[seed], out, say)
            except CutlayerError as error:
                for cell in left:
                    record = replace(_unscored(plan, cell, data[seed]), failed=str(error))
                    _finish(folder, record, {}, done, len(cells), tell)
                continue
            target = _Target(victim, judges[seed])
            for cell in left:
                record, pictures = _attacked(plan, target, cell, say)
                _finish(folder, record, pictures, done, len(cells), tell)
    return [done[cell.id] for cell in cells]


def _finish(
    folder: Path,
    record: ClassRecord,
    pictures: dict[str, NDArray[Any]],
    done: dict[str, ClassRecord],
    n_cells: int,
    tell: Say,
) -> None:
    records.write(folder, record, pictures)
    done[record.id] = record
    tell(f"[{len(done)}/{n_cells}] {line(record)}")


def _check(plan: ClassPlan, data: ClassData) -> None:
    """Refuse data on which no attack of the plan can be judged."""
    if data.train.modality is not IMAGE:
        one, instead = data.train.modality.one[1], _INSTEAD.get(data.train.modality.name, "")
        raise ConfigError(f"The samples of {data.name} are {one}, and the judges of classes look at pictures.{instead}")
    lacking = [name for k, name in enumerate(data.classes[: data.n_private]) if k not in data.train.labels]
    if lacking:
        raise ConfigError(
            f"The victim's training samples lack {', '.join(lacking[:5])}, of {data.n_private} classes that judges "
            "must know; take more images for the training."
        )
    if plan.images > len(data.auxiliary):
        raise ConfigError(
            f"The attacker has {len(data.auxiliary)} samples, and {plan.images} are to be shown of each class; state "
            "fewer images, or more auxiliary samples."
        )
    check_model(plan.victim, data)


def _attacked(plan: ClassPlan, target: _Target, cell: Cell, say: Say) -> tuple[ClassRecord, dict[str, NDArray[Any]]]:
    """The record of a cell with its scores, and pictures of it; a failure is recorded with its sentence."""
    blank, attacker = _unscored(plan, cell, target.data), cell.attacker
    record = replace(
        blank, accuracy=target.victim.accuracy, judges=target.judges.titles, judged=target.judges.accuracies
    )
    granted = plan.granted(attacker, cell.defense)
    if not attacker.floor and (why := refusal(attacker.attack.name, granted)):
        return replace(record, failed=why), {}
    reply = min(Reply.named(attacker.access), granted)
    if attacker.floor:
        reply = Reply.named(attacker.access)
    say(str(cell))
    try:
        if attacker.attack.name == CEILING:
            shown = ceiling(target.data, target.private, cell.images)
            return _scored(record, target, cell, shown)
        attack: ClassAttack | AnswerAttack = CLASS_ATTACKS.make(attacker.attack.name, **attacker.attack.options)
        targets = (*target.private, *([target.data.n_private] if cell.control else []))
        named = EXPLANATIONS.get(attacker.explanations)
        with seen_from(
            attacker.position, target.victim, reply=reply, targets=targets, budget=attacker.budget, seed=cell.seed,
            kept=target.kept.setdefault((attacker.position, reply.label), {}), device=pick_device(), say=say,
            explain=partial(named, target.victim.model) if named else None,
        ) as view:  # fmt: skip
            if isinstance(attack, AnswerAttack):
                return _instances(record, target, cell, view, attack)
            begin = time.perf_counter()
            shown = attack.represent(view, cell.images).detach().float().cpu()
            record = _spent(record, view, begin)
        expected = (len(targets), cell.images, *target.data.input.shape)
        if shown.shape != expected:
            raise DataError(f"The attack shows an array of {tuple(shown.shape)}, and {expected} was asked for.")
        if cell.control:
            looked = chance(shown[-1], target.judges)
            record = replace(record, control=Control(named=looked.named, chance=looked.chance))
            shown = shown[:-1]
        record, pictures = _scored(record, target, cell, shown)
        return replace(record, sampled=_sampled(target, cell, attack, record, say)), pictures
    except CutlayerError as error:
        return replace(record, failed=str(error)), {}
    except Exception as error:
        # A fault in one attack must not end a study of hours; its kind tells whose fault it is.
        return replace(record, failed=f"{type(error).__name__}: {error}"), {}


def _spent(record: ClassRecord, view: ClassView, begin: float) -> ClassRecord:
    seconds = time.perf_counter() - begin + view.shared_s
    return replace(record, asked=view.asked, seconds=seconds, access=view.reply.label)


def _instances(
    record: ClassRecord, target: _Target, cell: Cell, view: ClassView, attack: AnswerAttack
) -> tuple[ClassRecord, dict[str, NDArray[Any]]]:
    """The record of an attack that rebuilds single inputs from the answers to them, beside the mean of each class."""
    inputs = victims_inputs(target.data, cell.images * target.data.n_private, cell.seed)
    seen = seen_of(view, inputs, explained=bool(cell.attacker.explanations), masked=attack.sees_masked)
    begin = time.perf_counter()
    rebuilt = attack.invert(view, seen).detach().float().cpu()
    record = _spent(record, view, begin)
    with target.told(cell.seed) as own:
        floor = CLASS_ATTACKS.make(CLASS_MEAN).invert(own, seen).detach().float().cpu()
    found = scored(rebuilt, floor, inputs, target.data.auxiliary, target.judges, cell.seed)
    figures = Figures(metrics={**found.score.metrics, "over floor": found.over_floor})
    chosen = np.arange(min(len(rebuilt), CLASSES_SHOWN))
    arrays = {"rebuilt": rebuilt, "private": torch.from_numpy(inputs.inputs), "auxiliary": floor}
    kept = {name: part[chosen, None].half().numpy() for name, part in arrays.items()}
    return replace(record, score=figures), kept | {"classes": inputs.labels[chosen]}


def _sampled(target: _Target, cell: Cell, attack: ClassAttack, record: ClassRecord, say: Say) -> Figures | None:
    """What an attacker gets who asks as many questions about pictures of the same prior, and searches nothing.

    None where there is no such attacker, as with fewer questions than pictures; the attack has its score all the same.
    """
    if not record.asked or record.floor:
        return None
    named = {f.name for f in fields(CLASS_ATTACKS.load(SAMPLING))}
    options = {f.name: getattr(attack, f.name) for f in fields(attack) if f.name in named - {"n"}}
    if options.get("prior") not in PRIORS:
        return None  # of an attack's own making, or none at all
    sampling: ClassAttack = CLASS_ATTACKS.make(SAMPLING, n=record.asked, **options)
    with target.told(cell.seed) as view:
        try:
            shown = sampling.represent(view, cell.images).detach().float().cpu()
        except CutlayerError as error:
            say(f"nothing stands beside {record.label} at as many questions: {error}")
            return None
    return _figures(target, cell, shown)


def _scored(
    record: ClassRecord, target: _Target, cell: Cell, shown: Tensor
) -> tuple[ClassRecord, dict[str, NDArray[Any]]]:
    return replace(record, score=_figures(target, cell, shown)), _pictures(target, shown)


def _figures(target: _Target, cell: Cell, shown: Tensor) -> Figures:
    """What the judges say of pictures ``(classes, k, *input.shape)``, and how sure the victim is of them."""
    score = judged(shown, target.private, target.judges, nearest=target.strangers(cell.images), seed=cell.seed)
    confidences = np.array([_confidence(target, label, shown[label]) for label in target.private])
    sure = resampled(lambda index: confidences[index].mean(-1), len(confidences), cell.seed)
    by_class = {**score.by_class, "confidence": tuple(confidences.tolist())}
    return Figures(metrics={**score.metrics, "confidence": sure}, by_class=by_class)


def _confidence(target: _Target, label: int, shown: Tensor) -> float:
    with torch.inference_mode():
        return float(target.victim.model(shown).float().softmax(1)[:, label].mean())


def _pictures(target: _Target, shown: Tensor) -> dict[str, NDArray[Any]]:
    """The first pictures of some classes, each with the private and the auxiliary sample that is nearest to it."""
    chosen = np.unique(np.linspace(0, len(shown) - 1, min(len(shown), CLASSES_SHOWN)).round().astype(int))
    few = shown[chosen, :SHOWN]
    data, flat = target.data, few.flatten(0, 1)
    private = torch.cat([
        torch.from_numpy(of.inputs)[nearest(few[k], of, target.judges)]
        for k, label in enumerate(chosen)
        for of in [data.train.at(np.flatnonzero(data.train.labels == label))]
    ])  # fmt: skip
    auxiliary = torch.from_numpy(data.auxiliary.inputs)[nearest(flat, data.auxiliary, target.judges)]
    arrays = {"rebuilt": flat, "private": private, "auxiliary": auxiliary}
    return {name: part.reshape(few.shape).half().numpy() for name, part in arrays.items()} | {"classes": chosen}


def _unscored(plan: ClassPlan, cell: Cell, data: ClassData) -> ClassRecord:
    attacker, floor = cell.attacker, cell.attacker.floor
    if not floor:
        floor = CLASS_ATTACKS.load(attacker.attack.name).is_floor
    return ClassRecord(
        id=cell.id, study=plan.victim.id, name=plan.name, claim=plan.claim, data=plan.victim.data,
        model=plan.victim.model, seed=cell.seed, epochs=cell.epochs, targets=data.classes[: data.n_private],
        shared=data.shared, images=cell.images, defense=cell.defense.of.name, defense_label=cell.defense.label,
        at=cell.defense.at, attack=attacker.attack.name, label=attacker.label, position=attacker.position,
        access=attacker.access, options=dict(attacker.attack.options), prior=_prior(cell), floor=floor,
        chance=1 / data.n_private, published=_published(plan.published, cell), instances=cell.instances,
    )  # fmt: skip


def _prior(cell: Cell) -> str:
    if cell.attacker.floor:
        return ""
    attack = cell.attacker.attack
    return str(getattr(CLASS_ATTACKS.make(attack.name, **attack.options), "prior", ""))


def _published(entries: Sequence[PublishedClass], cell: Cell) -> Published | None:
    for entry in entries:
        attack, defense = cell.attacker.attack, cell.defense
        named = entry.attack in (attack.name, attack.label)
        if named and entry.defense in (defense.of.name, defense.label) and entry.closed is not None:
            return Published(values={"closed": entry.closed}, source=entry.source)
    return None


def line(record: ClassRecord) -> str:
    """One line on a cell."""
    where = f"{record.label} on {record.defense_label}, {record.epochs} epochs, seed {record.seed}"
    if record.score is None:
        return f"{where}: failed: {record.failed}"
    if record.instances:
        psnr, over = record.score.metrics["psnr"], record.score.metrics["over floor"]
        error = f"{over.value:.2f} of the error of the class's mean"
        return f"{where}: PSNR {psnr.value:.1f} dB, {error}, {record.seconds:.1f} s"
    agreed, first = record.score.metrics["agreed"], record.score.metrics["acc@1"]
    return (
        f"{where}: judges agree on {agreed.value:.0%} ({agreed.low:.0%} to {agreed.high:.0%}), the first "
        f"{first.value:.0%}, {record.per_class:,.0f} questions per class, {record.seconds:.1f} s"
    )
