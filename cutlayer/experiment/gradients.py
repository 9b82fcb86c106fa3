"""A study of attacks on updates, cell by cell: each finished cell is a record, so that a killed study goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutlayer import training
from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.client import Made, loss, observed
from cutlayer.attacks.gradients.floors import FLOORS
from cutlayer.attacks.gradients.scoring import paired
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.modality import IMAGE
from cutlayer.data.splits import NO_CLASS, Splits
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.errors import ConfigError, CutlayerError, DataError, WriteError
from cutlayer.experiment import victim
from cutlayer.experiment.gradient_plan import Cell, GradientPlan, PublishedUpdate, UpdateKind, toml
from cutlayer.experiment.spec import Experiment, Measure
from cutlayer.machine.compute import pick_device, tune_allocator
from cutlayer.machine.files import check_writable
from cutlayer.machine.identity import environment
from cutlayer.machine.lock import only_one
from cutlayer.metrics.interval import exact_proportion
from cutlayer.privacy.identification import CANDIDATES
from cutlayer.privacy.updates import score_updates
from cutlayer.records import gradients as records
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.run import Estimate, Published
from cutlayer.registry import UPDATE_ATTACKS, UPDATE_DEFENSES
from cutlayer.tables import Named

Say = Callable[[str], None]
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
    done = dict[str, UpdateRecord]()
    with only_one(folder, say=say):
        for (seed, epochs, defense), group in groupby(cells, key=lambda c: (c.seed, c.epochs, c.defense)):
            some = list(group)
            finished = {cell.id: _finished(folder, cell) if resume else None for cell in some}
            done |= {id: record for id, record in finished.items() if record is not None}
            left = [cell for cell in some if finished[cell.id] is None]
            if not left:
                continue
            target = _target(plan, seed, epochs, defense, data[seed], out, say)
            for kind, ones in groupby(left, key=lambda c: c.kind):
                for record in _attacked(plan, target, kind, list(ones), folder):
                    done[record.id] = record
                    tell(f"[{len(done)}/{len(cells)}] {_line(record)}")
    return [done[cell.id] for cell in cells]


def _finished(folder: Path, cell: Cell) -> UpdateRecord | None:
    """The record of a finished cell; None where there is none, where it is damaged, or where the attack failed."""
    with suppress(OSError, KeyError, TypeError, ValueError):
        record = records.read(folder / records.CELLS / f"{cell.id}.json")
        return None if record.failed else record
    return None


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
                "images for this attack, or smaller updates."
            )


def _target(plan: GradientPlan, seed: int, epochs: int, named: Named, data: Splits, runs: Path, say: Say) -> Target:
    """The model as clients with this defense have it, trained with it where the defense rebuilds it."""
    experiment = _experiment(plan, seed, epochs)
    defense: UpdateDefense = UPDATE_DEFENSES.make(named.name, **named.options)

    def built(own: int = seed) -> tuple[nn.Module, bool]:
        plain = victim.build(replace(experiment, seed=own), data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own)
            other = defense.rebuilt(plain, data.input, len(data.classes))
        return other, other is not plain

    untrained, rebuilt = built()
    model: nn.Module = untrained
    if epochs and not rebuilt:
        model = victim.trained(experiment, data, runs, say)
    elif epochs:
        path = victim.cached(experiment, runs)
        path = path.with_name(f"{path.stem}-{_file_name(named)}{path.suffix}")
        model = victim.remembered(path, lambda: built()[0], lambda: _trained(experiment, untrained, data, say), say)  # type: ignore[arg-type, return-value]
    right, n = training.accuracy(model, data.test.take(TEST))
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return Target(data, defense, model.eval(), exact_proportion(right, n), lambda: built(seed + 1)[0])


def _file_name(named: Named) -> str:
    return "".join(c if c.isalnum() or c in "-=." else "-" for c in named.key)


def _trained(experiment: Experiment, model: nn.Module, data: Splits, say: Say) -> nn.Module:
    how = experiment.training
    say(f"training {experiment.model} as the defense rebuilds it on {len(data.train):,} samples")
    training.optimize(
        [model], data.train, lambda inputs, labels, _: loss(model, inputs, labels), epochs=how.epochs,
        seed=experiment.seed, lr=how.lr, batch=how.batch, flip=how.flip,
    )  # fmt: skip
    return model


def _attacked(
    plan: GradientPlan, target: Target, kind: UpdateKind, cells: Sequence[Cell], folder: Path
) -> Iterator[UpdateRecord]:
    """Run the cells of one kind of update of one target, and record each."""
    known = dict[tuple[str, int], tuple[list[Made], list[Tensor], list[Tensor]]]()
    for cell in cells:
        attack: UpdateAttack | None = None
        record = _unscored(plan, cell, target)
        pictures: dict[str, NDArray[Any]] = {}
        try:
            if not cell.attacker.floor:
                named = cell.attacker.attack
                attack = UPDATE_ATTACKS.make(named.name, **named.options)
            if attack is not None and attack.active:
                made = _made(target, cell, attack)
            else:
                place = cell.attacker.of, cell.updates
                if place not in known:
                    known[place] = _made(target, cell, None)
                made = known[place]
            record, pictures = _run(record, cell, target, attack, *made)
        except WriteError:
            raise
        except CutlayerError as error:
            record = replace(record, failed=str(error))
        except Exception as error:
            # A fault in one attack must not end a study of hours; its kind tells whose fault it is.
            record = replace(record, failed=f"{type(error).__name__}: {error}")
        records.write(folder, record, pictures)
        yield record


def _view(cell: Cell, target: Target, labels: Sequence[Tensor]) -> UpdateView:
    knows, data = cell.attacker.knows, target.data
    return UpdateView(
        input=data.input,
        classes=len(data.classes),
        auxiliary=data.auxiliary,
        seed=cell.seed,
        device=pick_device(),
        # In ascending order, for the order of a batch is nothing that an attacker knows.
        _labels=tuple(own.sort().values for own in labels) if "labels" in knows else None,
        _defense=target.defense if "defense" in knows else None,
        _new_model=target.fresh if "architecture" in knows else None,
    )


def _made(target: Target, cell: Cell, attack: UpdateAttack | None) -> tuple[list[Made], list[Tensor], list[Tensor]]:
    """The updates, and for each the samples and the labels that its clients hold."""
    data, defense, kind, clients = target.data.private, target.defense, cell.kind, cell.victim.clients
    summed = cell.attacker.of == "sum"
    mixing = summed or type(defense).share is not UpdateDefense.share
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
    rounds = [_mixed(made[k : k + clients], defense, _rng(cell, k, 1), summed) for k in range(0, n, clients)]
    made = [m for each in rounds for m in each]
    if summed:
        inputs = [torch.cat(inputs[k : k + clients]) for k in range(0, n, clients)]
        labels = [torch.cat(labels[k : k + clients]) for k in range(0, n, clients)]
    return made[: cell.updates], inputs[: cell.updates], labels[: cell.updates]


def _rng(cell: Cell, update: int, use: int = 0) -> np.random.Generator:
    # Attackers draw with the same seed. Numbers that end with 0 make the same draws as those without the 0, which
    # would hand them the clients' draws.
    return np.random.default_rng([cell.seed, cell.epochs, update, use, CLIENTS])


def _mixed(made: Sequence[Made], defense: UpdateDefense, rng: np.random.Generator, summed: bool) -> list[Made]:
    """What the server sees of one round: each client's entry as the defense mixes it, or what it computes as the sum.

    The updates of clients with equally many samples have the weight 1 / K each. An entry is scaled back by K, to the
    size of the client's own update.
    """
    weight = 1 / len(made)
    weighted = {k: {name: weight * value for name, value in m.observation.update.items()} for k, m in enumerate(made)}
    shared = defense.share(weighted, rng)
    if not summed:
        seen = [
            {name: torch.as_tensor(value).float() / weight for name, value in shared[k].items()}
            for k in range(len(made))
        ]
        return [
            m._replace(observation=replace(m.observation, update=update)) for m, update in zip(made, seen, strict=True)
        ]
    first = made[0].observation
    total = {name: torch.as_tensor(value) for name, value in defense.summed(shared).items()}
    # Each of the local steps is taken for one on the batches of all clients.
    sizes = {key: sum(getattr(m.observation, key) for m in made) for key in ("samples", "batch")}
    observation = replace(first, update=total, **sizes)
    return [Made(observation, torch.cat([m.inputs for m in made]), torch.cat([m.labels for m in made]))]


def _run(
    record: UpdateRecord,
    cell: Cell,
    target: Target,
    attack: UpdateAttack | None,
    made: Sequence[Made],
    inputs: Sequence[Tensor],
    labels: Sequence[Tensor],
) -> tuple[UpdateRecord, dict[str, NDArray[Any]]]:
    view = _view(cell, target, labels)
    begin = time.perf_counter()
    if attack is None:
        found = FLOORS[cell.attacker.attack.name](view, made)
    else:
        found = attack.invert(view, [m.observation for m in made])
    seconds = time.perf_counter() - begin
    found = [Recovered(r.inputs.detach().cpu(), None if r.labels is None else r.labels.cpu()) for r in found]
    for answer, m in zip(found, made, strict=True):
        if len(answer.inputs) < m.observation.samples:
            raise DataError(f"The attack answers with {len(answer.inputs)} of {m.observation.samples} samples.")
    own = score_updates(found, inputs, labels, target.data, cell.seed)
    changed = any(
        not torch.equal(m.inputs, i) if m.inputs.shape == i.shape else True for m, i in zip(made, inputs, strict=True)
    )
    used = None
    if changed:
        used = score_updates(found, [m.inputs for m in made], [m.labels for m in made], target.data, cell.seed)
    pictures = _pictures(found, inputs) if target.data.modality is IMAGE else {}
    return replace(record, updates=len(made), seconds=seconds, own=own, used=used), pictures


def _pictures(found: Sequence[Recovered], inputs: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
    """The first samples, each with what it is paired with, as float16."""
    originals, rebuilt, left = list[Tensor](), list[Tensor](), PICTURES
    for recovered, true in zip(found, inputs, strict=True):
        if left <= 0:
            break
        mine, theirs = (where[:left] for where in paired(recovered.inputs, true))
        originals.append(true[theirs])
        rebuilt.append(recovered.inputs[mine].clamp(0, 1))
        left -= len(mine)
    return {"originals": torch.cat(originals).half().numpy(), "rebuilt": torch.cat(rebuilt).half().numpy()}


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
    best = "features" if "features" in record.own.metrics else "psnr"
    value = record.own.metrics[best]
    shown = f"{value.value:.1%} of features right" if best == "features" else f"PSNR {value.value:.1f} dB"
    return f"{where}: {shown}, leakage gain {record.own.leakage_gain.value:.0%}, {record.seconds:.1f} s"
