"""A study of attacks on updates, cell by cell: each finished cell is a record, so that a killed study goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutlayer import training
from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.client import Made, mixed, observed, weighted
from cutlayer.attacks.gradients.floors import FLOORS
from cutlayer.attacks.gradients.scoring import paired
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.legend import legend_of
from cutlayer.data.splits import NO_CLASS, Splits
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.errors import ConfigError, CutlayerError, DataError
from cutlayer.experiment import victim
from cutlayer.experiment.gradient_plan import Attacker, Cell, GradientPlan, PublishedUpdate, UpdateKind, toml
from cutlayer.experiment.spec import Experiment, Measure
from cutlayer.experiment.study_cells import left_by_victim
from cutlayer.machine.compute import pick_device, tune_allocator
from cutlayer.machine.files import check_writable
from cutlayer.machine.identity import environment
from cutlayer.machine.lock import only_one
from cutlayer.metrics.interval import exact_proportion
from cutlayer.models.kept import Say, remembered
from cutlayer.privacy.identification import CANDIDATES
from cutlayer.privacy.updates import score_updates
from cutlayer.records import gradients as records
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.run import Estimate, Published
from cutlayer.registry import UPDATE_ATTACKS, UPDATE_DEFENSES
from cutlayer.tables import Named

PICTURES = 8
"""Samples of a cell that are kept with what the attack made of them."""
CLIENTS = 1
"""Sets the draws of clients apart from those of the attackers."""
TEST = 1000
"""Test samples on which the accuracy of a victim's model is measured."""


@dataclass(frozen=True)
class Target:
    """What clients with one defense train, and on what.

    Attributes:
        data: The data of a seed.
        defense: The clients' defense.
        model: The model that the server sends to them.
        accuracy: Of that model.
        fresh: Builds a model of the same architecture with other weights.
    """

    data: Splits
    defense: UpdateDefense
    model: nn.Module
    accuracy: Estimate
    fresh: Callable[[], nn.Module]


def study(
    plan: GradientPlan, *, out: Path, data_root: Path | None = None, say: Say, tell: Say, resume: bool = True
) -> list[UpdateRecord]:
    """Run every cell of the plan that is not finished, and return the records of all, in the order of the plan.

    A cell whose attack fails is recorded with the reason, and tried again by a later call.

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
    data = {seed: _data(plan, seed, data_root) for seed in plan.seeds}
    for splits in data.values():
        _check(cells, splits)
    for note in dict.fromkeys(note for splits in data.values() for note in splits.notes):
        say(note)
    threads = torch.get_num_threads()
    records.begin(folder, toml(plan), environment(edge=threads, cloud=threads))
    done, shared = dict[str, UpdateRecord](), dict[tuple[int, int], tuple[nn.Module, Estimate]]()
    with only_one(folder, say=say):
        for left in left_by_victim(cells, lambda id: records.finished(folder, id) if resume else None, done):
            seed, epochs, defense = left[0].seed, left[0].epochs, left[0].defense
            target = _target(plan, seed, epochs, defense, data[seed], shared, out, say)
            for kind, ones in groupby(left, key=lambda c: c.kind):
                for record in _attacked(plan, target, kind, list(ones), folder):
                    done[record.id] = record
                    tell(f"[{len(done)}/{len(cells)}] {_line(record)}")
    return [done[cell.id] for cell in cells]


def _data(plan: GradientPlan, seed: int, data_root: Path | None) -> Splits:
    most = max(cell.updates * _of_each(cell) for cell in plan.cells())
    part = _experiment(plan, seed, 0)
    measured = replace(part.measure, private=max(most, CANDIDATES))
    data = victim.load_data(replace(part, measure=measured), data_root)
    if not data.classes or (data.train.labels == NO_CLASS).any() or (data.private.labels == NO_CLASS).any():
        raise ConfigError(f"The samples of {data.name} have no classes, which a gradient needs; store labels beside.")
    return victim.shown(part, data)


def _of_each(cell: Cell) -> int:
    return cell.kind.samples * (cell.victim.clients if cell.attacker.of == "sum" else 1)


def _experiment(plan: GradientPlan, seed: int, epochs: int) -> Experiment:
    """An experiment with the same victim, for its model is kept where that of an experiment is."""
    v = plan.victim
    return Experiment(
        v.data, v.model, cut="", seed=seed, start=v.start, input=v.input,
        training=replace(v.training, epochs=epochs), measure=Measure(auxiliary=v.auxiliary, count=TEST),
    )  # fmt: skip


def _check(cells: Sequence[Cell], data: Splits) -> None:
    for cell in cells:
        rounded = -(-cell.updates // cell.victim.clients) * cell.victim.clients
        needed = cell.kind.samples * (rounded if cell.attacker.of == "client" else cell.updates * cell.victim.clients)
        if needed > len(data.private):
            raise ConfigError(
                f"{data.name} has {len(data.private):,} private samples, and {cell} needs {needed:,}; state fewer "
                "samples for this attack, or smaller updates."
            )


def _target(
    plan: GradientPlan,
    seed: int,
    epochs: int,
    named: Named,
    data: Splits,
    plain: dict[tuple[int, int], tuple[nn.Module, Estimate]],
    runs: Path,
    say: Say,
) -> Target:
    """The model as clients with this defense have it, trained with it where the defense rebuilds it.

    `plain` keeps the models that no defense rebuilds, by seed and epochs.
    """
    experiment = _experiment(plan, seed, epochs)
    defense: UpdateDefense = UPDATE_DEFENSES.make(named.name, **named.options)

    def built(own: int = seed) -> nn.Module:
        model = victim.build(replace(experiment, seed=own), data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own)
            return defense.rebuilt(model, data.input, len(data.classes))

    fresh = partial(built, seed + 1)
    if not defense.on or type(defense).rebuilt is UpdateDefense.rebuilt:
        if (seed, epochs) not in plain:
            bare = victim.trained(experiment, data, runs, say) if epochs else victim.build(experiment, data)
            plain[seed, epochs] = _ready(bare, data)
        return Target(data, defense, *plain[seed, epochs], fresh)
    model = built()
    if epochs:
        path = victim.cached(experiment, runs)
        path = path.with_name(f"{path.stem}-{_file_name(named)}{path.suffix}")
        model = remembered(path, built, partial(_trained, experiment, model, data, say), say)
    return Target(data, defense, *_ready(model, data), fresh)


def _ready(model: nn.Module, data: Splits) -> tuple[nn.Module, Estimate]:
    """The model as the server sends it, and its accuracy."""
    right, n = training.accuracy(model, data.test.take(TEST))
    return model.eval().requires_grad_(True), exact_proportion(right, n)


def _file_name(named: Named) -> str:
    return "".join(c if c.isalnum() or c in "-=." else "-" for c in named.key)


def _trained(experiment: Experiment, model: nn.Module, data: Splits, say: Say) -> nn.Module:
    how = experiment.training
    say(f"training {experiment.model} as the defense rebuilds it on {len(data.train):,} samples")
    training.train(
        model, data.train, epochs=how.epochs, seed=experiment.seed, lr=how.lr, batch=how.batch, flip=how.flip
    )
    return model


def _attacked(
    plan: GradientPlan, target: Target, kind: UpdateKind, cells: Sequence[Cell], folder: Path
) -> Iterator[UpdateRecord]:
    """Run the cells of one kind of update of one target, and record each."""
    known = dict[tuple[str, int], tuple[list[Made], list[Tensor], list[Tensor]]]()
    for cell in cells:
        named, record = cell.attacker.attack, _unscored(plan, cell, target)
        try:
            attack = None if cell.attacker.floor else UPDATE_ATTACKS.make(named.name, **named.options)
            if attack is not None and attack.active:
                updates = _made(target, cell, attack)
            else:
                place = cell.attacker.of, cell.updates
                if place not in known:
                    known[place] = _made(target, cell, None)
                updates = known[place]
        except CutlayerError as error:
            record, pictures = replace(record, failed=str(error)), dict[str, NDArray[Any]]()
        else:
            made, inputs, labels = updates
            seen = _view(cell, target, labels)
            answer = (
                partial(FLOORS[named.name], seen, made)
                if attack is None
                else partial(attack.invert, seen, [m.observation for m in made])
            )
            record, pictures = attacked(record, answer, made, inputs, labels, target.data)
        records.write(folder, record, pictures)
        yield record


def view(
    attacker: Attacker,
    data: Splits,
    labels: Sequence[Tensor],
    *,
    seed: int,
    defense: UpdateDefense,
    among: int,
    fresh: Callable[[], nn.Module],
) -> UpdateView:
    """What an attacker is granted beside the updates.

    Args:
        attacker: The attack, and what is granted.
        data: The data, of which the auxiliary part is the attacker's.
        labels: The labels of each update.
        seed: Seed of the attacker's own draws.
        defense: The clients' defense.
        among: See `UpdateView`.
        fresh: Builds a model of the clients' architecture.
    """
    return UpdateView(
        input=data.input,
        classes=len(data.classes),
        auxiliary=data.auxiliary,
        seed=seed,
        device=pick_device(),
        among=among,
        # In ascending order, for the order of a batch is nothing that an attacker knows.
        _labels=tuple(own.sort().values for own in labels) if "labels" in attacker.knows else None,
        _defense=defense if "defense" in attacker.knows else None,
        _new_model=fresh if "architecture" in attacker.knows else None,
    )


def _view(cell: Cell, target: Target, labels: Sequence[Tensor]) -> UpdateView:
    among = cell.victim.clients if target.defense.mixes and cell.attacker.of == "client" else 1
    return view(
        cell.attacker, target.data, labels, seed=cell.seed, defense=target.defense, among=among, fresh=target.fresh
    )


def _made(target: Target, cell: Cell, attack: UpdateAttack | None) -> tuple[list[Made], list[Tensor], list[Tensor]]:
    """The updates, and for each the samples and the labels that its clients hold."""
    data, defense, kind, clients = target.data.private, target.defense, cell.kind, cell.victim.clients
    summed = cell.attacker.of == "sum"
    mixing = summed or defense.mixes
    n = cell.updates * clients if summed else -(-cell.updates // clients) * clients if mixing else cell.updates
    model = target.model if attack is None else attack.broadcast(_view(cell, target, []), target.model)
    parts = [slice(k * kind.samples, (k + 1) * kind.samples) for k in range(n)]
    inputs = [torch.from_numpy(data.inputs[part]) for part in parts]
    labels = [torch.from_numpy(data.labels[part]) for part in parts]
    made = [
        observed(
            model, inputs[k], labels[k], defense, _rng(cell, k), local_steps=kind.steps, batch=kind.batch,
            lr=kind.lr if kind.steps else 0.0, round=cell.epochs,
        )
        for k in range(n)
    ]  # fmt: skip
    if not mixing:
        return made, inputs, labels
    rounds = [(made[k : k + clients], defense, _rng(cell, k, 1)) for k in range(0, n, clients)]
    made = [_summed(*each) for each in rounds] if summed else [m for each in rounds for m in mixed(*each)]
    if summed:
        inputs = [torch.cat(inputs[k : k + clients]) for k in range(0, n, clients)]
        labels = [torch.cat(labels[k : k + clients]) for k in range(0, n, clients)]
    return made[: cell.updates], inputs[: cell.updates], labels[: cell.updates]


def _rng(cell: Cell, update: int, use: int = 0) -> np.random.Generator:
    # Attackers draw with the same seed. Numbers that end with 0 make the same draws as those without the 0, which
    # would hand them the clients' draws.
    return np.random.default_rng([cell.seed, cell.epochs, update, use, CLIENTS])


def _summed(made: Sequence[Made], defense: UpdateDefense, rng: np.random.Generator) -> Made:
    """What the server computes as the sum of one round."""
    shared = defense.share(weighted(made), rng)
    first = made[0].observation
    total = {name: torch.as_tensor(value).float() for name, value in defense.summed(shared).items()}
    # Each of the local steps is taken for one on the batches of all clients.
    sizes = {key: sum(getattr(m.observation, key) for m in made) for key in ("samples", "batch")}
    observation = replace(first, update=total, **sizes)
    return Made(observation, torch.cat([m.inputs for m in made]), torch.cat([m.labels for m in made]))


def attacked(
    record: UpdateRecord,
    answer: Callable[[], list[Recovered]],
    made: Sequence[Made],
    inputs: Sequence[Tensor],
    labels: Sequence[Tensor],
    data: Splits,
) -> tuple[UpdateRecord, dict[str, NDArray[Any]]]:
    """The record with the scores of an answer, and pictures of it; a failure is recorded with its sentence.

    Args:
        record: The record without scores.
        answer: Gives the attack's answer to the updates.
        made: The updates, and what each was computed from.
        inputs: The clients' own samples of each update.
        labels: Their labels.
        data: The data.
    """
    begin = time.perf_counter()
    try:
        found = answer()
        seconds = time.perf_counter() - begin
        found = [Recovered(r.inputs.detach().cpu(), None if r.labels is None else r.labels.cpu()) for r in found]
        for each, m in zip(found, made, strict=True):
            if len(each.inputs) < m.observation.samples:
                raise DataError(f"The attack answers with {len(each.inputs)} of {m.observation.samples} samples.")
        own = score_updates(found, inputs, labels, data, record.seed)
        used = None
        if not all(m.inputs is i or torch.equal(m.inputs, i) for m, i in zip(made, inputs, strict=True)):
            # None of them may be in the range of inputs.
            with suppress(DataError):
                used = score_updates(found, [m.inputs for m in made], [m.labels for m in made], data, record.seed)
    except CutlayerError as error:
        return replace(record, failed=str(error)), {}
    except Exception as error:
        # A fault in one attack must not end a study of hours; its kind tells whose fault it is.
        return replace(record, failed=f"{type(error).__name__}: {error}"), {}
    pictures = _pictures(found, inputs, data)
    return replace(record, updates=len(made), seconds=seconds, own=own, used=used), pictures


def _pictures(found: Sequence[Recovered], inputs: Sequence[Tensor], data: Splits) -> dict[str, NDArray[Any]]:
    """The first samples, each with what it is paired with, and beside those that are no images what they stand for."""
    originals, rebuilt, left = list[Tensor](), list[Tensor](), PICTURES
    for recovered, true in zip(found, inputs, strict=True):
        if left <= 0:
            break
        mine, theirs = (where[:left] for where in paired(recovered.inputs, true))
        originals.append(true[theirs])
        rebuilt.append(recovered.inputs[mine] if data.input.is_tokens else recovered.inputs[mine].clamp(0, 1))
        left -= len(mine)
    kept = {
        name: torch.cat(parts).numpy().astype(data.modality.kept)
        for name, parts in (("originals", originals), ("rebuilt", rebuilt))
    }
    legend = legend_of(data, kept.values()).text()
    return kept | ({"legend": np.frombuffer(legend.encode(), np.uint8)} if legend else {})


def _unscored(plan: GradientPlan, cell: Cell, target: Target) -> UpdateRecord:
    kind, attacker = cell.kind, cell.attacker
    return UpdateRecord(
        id=cell.id, study=plan.victim.id, name=plan.name, claim=plan.claim, data=plan.victim.data,
        model=plan.victim.model, seed=cell.seed, epochs=cell.epochs, samples=kind.samples, steps=kind.steps,
        local_batch=kind.batch, lr=kind.lr if kind.steps else 0.0, defense=cell.defense.name,
        defense_label=cell.defense.label, attack=attacker.attack.name, label=attacker.label, knows=attacker.knows,
        of=attacker.of, floor=attacker.floor, accuracy=target.accuracy, published=_published(plan.published, cell),
    )  # fmt: skip


def _published(entries: Sequence[PublishedUpdate], cell: Cell) -> Published | None:
    for entry in entries:
        attack = cell.attacker.attack
        if (
            entry.attack in (attack.name, attack.label)
            and entry.defense in (cell.defense.name, cell.defense.label)
            and entry.samples == cell.kind.samples
        ):
            names = ("psnr", "ssim", "mse", "labels", "features")
            values = {name: value for name in names if (value := getattr(entry, name)) is not None}
            return Published(values=values, source=entry.source)
    return None


def _line(record: UpdateRecord) -> str:
    where = f"{record.label} on {record.defense_label}, B {record.samples}, {record.epochs} epochs, seed {record.seed}"
    if record.own is None:
        return f"{where}: failed: {record.failed}"
    found = record.own.metrics
    words = {"token-accuracy": "tokens", "features": "features"}
    best = next((name for name in words if name in found), "psnr")
    shown = f"PSNR {found[best].value:.1f} dB" if best == "psnr" else f"{found[best].value:.1%} of {words[best]} right"
    return f"{where}: {shown}, leakage gain {record.own.leakage_gain.value:.0%}, {record.seconds:.1f} s"
