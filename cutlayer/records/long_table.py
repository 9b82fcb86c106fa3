"""All figures of a folder of runs as one long table: a row for each figure, with all that it depends on beside it.

The kinds of rows: ``run`` (an attack's metric on a deployment, or the accuracy), ``request`` (a percentile of the times
of requests, or a size), ``update`` and ``class-level`` (a metric of a cell of a study), ``training`` (a round).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from cutlayer.records import reading
from cutlayer.records.class_level import ClassRecord
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.rows import plain
from cutlayer.records.run import CostRecord, Estimate, Result
from cutlayer.records.training import RoundRecord, TrainingRecord


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. A column that does not apply is empty, or None where it is a number.

    Attributes:
        kind: Kind of the row.
        id: Id of the run, the training or the cell.
        study: Id of the study of a cell.
        commit: The commit of cutlayer; empty where it is not known.
        defense_options: Its options as JSON.
        seed: Seed of the whole run.
        epochs: Passes over the training samples that the victim of a study has had.
        samples: Samples of one update.
        steps: Local steps of one update.
        position: Where an attacker on classes is.
        access: What the attacker is granted.
        attack: Name of the attack; empty where the figure is none of an attack.
        attack_label: Its title with its options.
        round: Round of a training.
        metric: Name of the figure, with its unit where it has one.
        statistic: ``mean``, ``median``, ``p50`` and so on; ``value`` where it is none of these.
        value: The figure; None where it is not known.
        n: Number of samples.
        low: Lower end of the 95 % interval.
        high: Upper end.
        infinite: Further samples whose score is infinite, and which are not in the mean.
    """

    kind: str
    id: str
    study: str = ""
    name: str = ""
    commit: str = ""
    data: str = ""
    model: str = ""
    cut: str = ""
    seed: int
    defense: str = ""
    defense_label: str = ""
    defense_options: str = "{}"
    codec: str = ""
    deployment: str = ""
    transport: str = ""
    head: str = ""
    epochs: int | None = None
    samples: int | None = None
    steps: int | None = None
    position: str = ""
    access: str = ""
    attack: str = ""
    attack_label: str = ""
    n_releases: int | None = None
    round: int | None = None
    metric: str = ""
    statistic: str = "mean"
    value: float | None = None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    infinite: int | None = None


def rows(runs: Path, say: Callable[[str], None]) -> Iterator[Row]:
    """The rows of all runs, studies and trainings under a folder.

    Args:
        runs: Folder of the runs.
        say: Called with a sentence for each record that is damaged or unfinished, which has no row.

    Raises:
        CutlayerError: There is no folder, or nothing in it.
    """
    for row in _all(runs, say):
        odd: dict[str, Any] = {
            name: plain(text) for name, text in vars(row).items() if isinstance(text, str) and not text.isascii()
        }
        yield replace(row, **odd) if odd else row


def _all(runs: Path, say: Callable[[str], None]) -> Iterator[Row]:
    finished, unfinished = reading.read(runs, arrays=False)
    (updates, odd_updates), (classes, odd_classes) = reading.studies(runs), reading.class_studies(runs)
    trainings, odd_trainings = reading.trainings(runs)
    for left_out in (*unfinished, *odd_updates, *odd_classes, *odd_trainings):
        say(f"{left_out.name} is left out. {left_out.reason}")
    for run in finished:
        yield from of_run(run.result, run.env)
    for study in updates:
        for cell in study.records:
            yield from of_update(cell, study.env)
    for of_classes in classes:
        for one in of_classes.records:
            yield from of_class(one, of_classes.env)
    for trained in trainings:
        yield from of_training(trained.record, trained.env)


def of_run(result: Result, env: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a run: accuracy or cosine, attacks, identification, probes, and what its requests cost."""
    options = {key: value for key, value in result.defense.items() if key != "name"}
    base = Row(
        kind="run", id=result.id, name=result.name, commit=_commit(env), data=result.data, model=result.model,
        cut=result.cut, seed=result.seed, defense=str(result.defense.get("name", "")),
        defense_label=result.defense_label, defense_options=json.dumps(options, sort_keys=True), codec=result.codec,
    )  # fmt: skip
    of = result.utility
    stated = {"accuracy": of.accuracy, "accuracy without defense": of.baseline, "change of accuracy": of.change}
    if of.vectors:
        stated = {"cosine": of.vectors.cosine, "same-nearest": of.vectors.same_nearest}
    yield from _figures(base, {metric: entry for metric, entry in stated.items() if entry is not None})
    places = {cost.deployment: replace(base, **_place(cost)) for cost in result.cost}
    for attack in result.privacy:
        found = {"leakage_gain": attack.leakage_gain, **attack.metrics}
        yield from _figures(_attacked(places.get(attack.deployment, base), attack), found)
    for known in result.identification:
        shares = {f"identified, {known.how}": known.top_1, f"among the first ten, {known.how}": known.top_10}
        yield from _figures(_attacked(places.get(known.deployment, base), known), shares)
    for probe in result.probes:
        target = f"{probe.target} {probe.attribute}".strip()
        auc = {f"auc of {target}": probe.auc, f"auc of {target}, over the answer's": probe.over_baseline}
        label = f"probe {probe.how}"
        yield from _figures(replace(base, attack="probe", attack_label=label, n_releases=probe.n_releases), auc)
    for cost in result.cost:
        yield from _of_requests(replace(places[cost.deployment], kind="request"), cost)


def of_update(cell: UpdateRecord, env: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a cell of a study of updates; none where the attack failed."""
    base = Row(
        kind="update", id=cell.id, study=cell.study, name=cell.name, commit=_commit(env), data=cell.data,
        model=cell.model, seed=cell.seed, defense=cell.defense, defense_label=cell.defense_label, epochs=cell.epochs,
        samples=cell.samples, steps=cell.steps, access=", ".join(cell.knows), attack=cell.attack,
        attack_label=cell.label,
    )  # fmt: skip
    for score, beginning in ((cell.own, ""), (cell.used, "of the samples used, ")):
        if score is not None:
            found = {"leakage_gain": score.leakage_gain, **score.metrics}
            yield from _figures(base, {f"{beginning}{metric}": entry for metric, entry in found.items()})
    if cell.accuracy is not None:
        yield from _figures(replace(base, attack="", attack_label="", access=""), {"accuracy": cell.accuracy})


def of_class(cell: ClassRecord, env: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a cell of a study of class-level inversion; none where the attack failed."""
    base = Row(
        kind="class-level", id=cell.id, study=cell.study, name=cell.name, commit=_commit(env), data=cell.data,
        model=cell.model, seed=cell.seed, defense=cell.defense, defense_label=cell.defense_label, epochs=cell.epochs,
        position=cell.position, access=cell.access, attack=cell.attack, attack_label=cell.label,
    )  # fmt: skip
    for figures, beginning in ((cell.score, ""), (cell.sampled, "without a search, ")):
        if figures is not None:
            yield from _figures(base, {f"{beginning}{metric}": entry for metric, entry in figures.metrics.items()})
    if cell.accuracy is not None:
        yield from _figures(replace(base, attack="", attack_label=""), {"accuracy": cell.accuracy})


def of_training(record: TrainingRecord, env: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a training: those of each round."""
    base = Row(
        kind="training", id=record.id, name=record.name, commit=_commit(env), data=record.data, model=record.model,
        cut=", ".join(record.cuts), seed=record.seed, defense_label=record.label, transport=record.transport,
    )  # fmt: skip
    for entry in record.rounds:
        at = replace(base, round=entry.round)
        if entry.accuracy is not None:
            yield from _figures(at, {"accuracy": entry.accuracy})
        for metric, value in _of_round(entry).items():
            yield replace(at, metric=metric, statistic="value", value=_known(value))


def _of_round(entry: RoundRecord) -> dict[str, float]:
    clients = {"accuracy of clients": entry.mean, "accuracy of the worst tenth": entry.worst}
    times = {"loss": entry.loss, "round_s": entry.seconds, "server_s": entry.server_s}
    sizes = {f"{kind}, bytes": float(n) for kind, n in entry.traffic.items()}
    return {metric: value for metric, value in (clients | times | sizes).items() if isfinite(value)}


def _of_requests(place: Row, cost: CostRecord) -> Iterator[Row]:
    times = {"end_to_end_ns": cost.end_to_end, **{f"{stage}_ns": found for stage, found in cost.stages.items()}}
    for metric, percentiles in times.items():
        for statistic, value in percentiles.items():
            if value is not None:
                yield replace(place, metric=metric, statistic=statistic, value=float(value), n=cost.n)
    for metric in ("tensor_bytes", "message_bytes", "kernel_bytes"):
        if (size := getattr(cost, metric)) is not None:
            yield replace(place, metric=metric, statistic="median", value=float(size), n=cost.n)
    for metric in ("first_request_ns", "edge_peak_rss_bytes", "energy_j"):
        if (once := getattr(cost, metric)) is not None:
            yield replace(place, metric=metric, statistic="value", value=_known(float(once)), n=1)
    if cost.added_ns is not None:
        yield from _figures(replace(place, statistic="median"), {"added_ns": cost.added_ns})


def _figures(base: Row, found: Mapping[str, Estimate]) -> Iterator[Row]:
    for metric, entry in found.items():
        yield replace(
            base, metric=metric, value=_known(entry.value), n=entry.n, low=_known(entry.low), high=_known(entry.high),
            infinite=entry.infinite,
        )  # fmt: skip


def _attacked(place: Row, attack: Any) -> Row:
    return replace(
        place, attack=attack.attack, attack_label=attack.label, access=attack.access, n_releases=attack.n_releases,
        deployment=attack.deployment,
    )  # fmt: skip


def _place(cost: CostRecord) -> dict[str, Any]:
    return {"deployment": cost.deployment, "transport": cost.transport, "head": cost.head}


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def _commit(env: Mapping[str, Any]) -> str:
    return str(env.get("commit") or "")
