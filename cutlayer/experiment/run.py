"""One experiment from the first epoch to the last record. `run` reads top to bottom."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import fx

from cutlayer import training
from cutlayer.attacks.view import Access, vantage_named
from cutlayer.data.overlap import check_apart
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import deployed
from cutlayer.errors import ConfigError, WriteError
from cutlayer.experiment import adversary, victim
from cutlayer.experiment.budget import fitted
from cutlayer.experiment.judge import judge
from cutlayer.experiment.measure import measure
from cutlayer.experiment.plan import naming, toml
from cutlayer.experiment.probing import check_probes, probe_all, under_trained
from cutlayer.experiment.result import result, summary
from cutlayer.experiment.spec import Experiment, Measure
from cutlayer.experiment.turns import take_turns
from cutlayer.experiment.usefulness import answers_of, answers_vectors, check_useful
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.files import check_writable
from cutlayer.machine.identity import environment
from cutlayer.machine.lock import only_one
from cutlayer.machine.memory import enough_memory
from cutlayer.models.halves import split as split_at_cut
from cutlayer.models.kept import Say
from cutlayer.own import in_folder
from cutlayer.privacy.ceiling import ceiling
from cutlayer.privacy.predictors import predictors
from cutlayer.privacy.releases import MOST_BYTES, Releases
from cutlayer.privacy.score import Chosen
from cutlayer.privacy.spectrum import spectrum
from cutlayer.progress import told
from cutlayer.records import writing
from cutlayer.records.failed import forget_failure
from cutlayer.records.files import delete, write_text
from cutlayer.records.reading import read_finished
from cutlayer.records.run import EXPERIMENT, Result
from cutlayer.registry import DATASETS
from cutlayer.report.runs.durations import durations
from cutlayer.split_folder import open_split
from cutlayer.tables import Named
from cutlayer.trace import Columns

Load = Callable[[Experiment], Splits]
"""Gives the data of an experiment."""

FACTS_FROM = 256
"""Auxiliary images from whose smashed data a defense states its facts."""


def run_all(
    experiments: Sequence[Experiment],
    runs: Path,
    *,
    resume: bool,
    data_root: Path | None,
    say: Say,
    budget_s: float | None = None,
    weights_root: Path | None = None,
    source: Path | None = None,
) -> list[Result]:
    """Run each experiment that is not finished yet; say where the time went; return the records of all.

    Args:
        experiments: Those of one plan.
        runs: Folder of the records.
        resume: Whether finished experiments, and finished parts of others, are kept.
        data_root: Folder of the data sets that are not embedded.
        say: Called with each line of progress.
        budget_s: Seconds for the plan, for which attacks make fewer steps on a slow machine; None for no limit.
        weights_root: Folder of the published weights of metrics; see `cutlayer.metrics.weights.weights_root`.
        source: File of the plan, which errors about it name.

    Raises:
        ConfigError, SplitError, DataError, WithheldError: See `check`; found before anything is trained or written.
        WriteError: The user may not write to `runs`, found before as well; or its disk has become full.
    """
    begin_s = time.perf_counter()
    check_writable(runs, "folder")
    tune_allocator()
    load = loading(data_root)
    check_all(experiments, load, weights_root, say, source)
    spent: dict[str, float] = {}
    if budget_s is not None:
        first, left_s = load(experiments[0]), budget_s - (time.perf_counter() - begin_s)
        experiments, spent = fitted(experiments, first, left_s, runs, resume=resume, say=say)
    results, fresh = list[Result](), list[Result]()
    for i, experiment in enumerate(experiments, 1):
        say(f"[{i}/{len(experiments)}] {experiment}  ({runs / experiment.id})")
        result, is_fresh = kept_or_run(experiment, load, runs, data_root, say, weights_root, resume=resume)
        results.append(result)
        fresh += [result] * is_fresh
    if fresh:
        for line in durations(fresh, spent, time.perf_counter() - begin_s).splitlines():
            say(line)
    return results


def kept_or_run(
    experiment: Experiment,
    load: Load,
    runs: Path,
    data_root: Path | None,
    say: Say,
    weights_root: Path | None = None,
    *,
    resume: bool = True,
) -> tuple[Result, bool]:
    """The result of an experiment, which is run unless it is finished; and whether it was run.

    Args:
        experiment: The experiment.
        load: Gives its data; not called where it is finished.
        runs: Folder of the records.
        data_root: See `run_all`.
        say: Called with each line of progress.
        weights_root: See `run_all`.
        resume: Whether it is kept if it is finished, and its finished parts if it is not.
    """
    folder = runs / experiment.id
    # Another process with the same plan waits here, and takes up what this one has finished.
    with only_one(folder, say=say):
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        if (finished := read_finished(folder, say)) is not None:
            say("          finished before; --no-resume runs it again")
            return finished, False
        stamped = _stamped(say)
        with told(stamped), enough_memory(experiment, _smaller(experiment)):
            result = run(experiment, load(experiment), runs, data_root, stamped, weights_root)
        forget_failure(folder)
        return result, True


def loading(data_root: Path | None, most: int | None = None) -> Load:
    """A function that gives the data of an experiment, and keeps those of the last `most` ones; of all, if it is None.

    Experiments that take the same images share them.
    """
    kept: dict[tuple[object, ...], Splits] = {}

    def load(experiment: Experiment) -> Splits:
        source = _source(experiment)
        if source not in kept:
            if most is not None and len(kept) >= most:
                del kept[next(iter(kept))]
            kept[source] = victim.load_data(experiment, data_root)
        return kept[source]

    return load


def _source(experiment: Experiment) -> tuple[object, ...]:
    """What decides which inputs an experiment has; the model may decide on the size of files, and on tokens."""
    asked = DATASETS.is_path(experiment.data) or experiment.data == "random" or in_folder(experiment.model)
    model = experiment.model if asked else ""
    numbers = replace(experiment.measure, codec=Measure.codec), experiment.training.images, experiment.probes
    return experiment.data, experiment.seed, experiment.input, model, *numbers


def check_all(
    experiments: Sequence[Experiment], load: Load, weights_root: Path | None, say: Say, source: Path | None = None
) -> None:
    """Refuse the experiments of a plan that cannot work, and say what is odd about their data and metrics; see `check`.

    Raises:
        ConfigError, SplitError, DataError, WithheldError: See `check`; it names the plan's file, if that is `source`.
    """
    with naming(source):
        notes: list[str] = []
        for experiment in experiments:
            notes += load(experiment).notes
        for note in dict.fromkeys(notes):
            say(note)
        for experiment in experiments:
            check(experiment, load(experiment))
        notes = []
        for setup in (experiment.measure for experiment in experiments):
            notes += Chosen(setup.metrics, weights_root).notes(setup.private, judged=True)
        for note in dict.fromkeys(notes):
            say(note)


def check(experiment: Experiment, data: Splits) -> None:
    """Refuse what cannot work, or must not count.

    Raises:
        ConfigError: The data set has too few images.
        SplitError: The model has no such cut.
        WithheldError: An attack needs more than the attackers are granted.
        DataError: The attackers hold some of the private images already.
    """
    granted, vantage = Access.named(experiment.measure.access), vantage_named(experiment.measure.vantage)
    adversary.check_granted(experiment.attacks, granted, vantage, experiment.measure.servers)
    adversary.check_rebuild(experiment.attacks, data)
    victim.check_defense(experiment, data)
    check_useful(experiment, data)
    victim.check_cut(experiment, data)
    other = experiment.measure.auxiliary_data
    check_probes(experiment.probes, victim.shown(experiment, data), granted, vantage, other)
    setup = experiment.measure
    training, auxiliary = experiment.training.images or len(data.train), setup.auxiliary or len(data.auxiliary)
    needs = {"test": setup.count, "private": setup.private, "train": training, "auxiliary": auxiliary}
    for part, wanted in needs.items():
        present = len(getattr(data, part))
        if not 0 < wanted <= present:
            section = "training" if part == "train" else "measure"
            raise ConfigError(
                f"{data.name} has {present} {part} {data.modality.one[1]}, not {wanted}; change [{section}]."
            )
    if setup.turns < 0 or setup.turns == 1:
        raise ConfigError(f"measure.turns must be 0, or at least 2 for an interval, not {setup.turns}.")
    check_apart(victim.shown(experiment, data), setup.private)


def run(
    experiment: Experiment, data: Splits, runs: Path, data_root: Path | None, say: Say, weights_root: Path | None = None
) -> Result:
    """Train, harden, split, serve, measure, attack, record.

    Every part leaves its product under `runs/<id>/`, complete or not at all; a later call takes up what is there.
    """
    ends, data = {"begin": time.perf_counter()}, victim.shown(experiment, data)
    env = environment(edge=experiment.measure.edge_threads, cloud=experiment.measure.cloud_threads)
    folder = runs / experiment.id
    write_text(folder / EXPERIMENT, toml(experiment))

    model = victim.trained(experiment, data, runs, say)
    ends["train"] = time.perf_counter()
    test = data.test.take(experiment.measure.count)
    if not victim.whole(folder / "split", say):
        for outdated in ("measured", "attacks"):  # of the split that was there before
            delete(folder / outdated)
        victim.export(experiment, model, data, folder / "split", say, runs)
    opened = open_split(folder / "split")
    split, defense = opened.halves(), deployed(opened)
    baseline = victim.further(experiment, model, data, defense.further_epochs, runs, say)
    undefended_answers = training.outputs(baseline, test.inputs)
    ends["harden"] = time.perf_counter()

    attacks = adversary.attacks(experiment.attacks, defense)
    granted, vantage = Access.named(experiment.measure.access), vantage_named(experiment.measure.vantage)
    attacks += adversary.watch_lists(attacks, defense, granted, vantage)
    n_releases = max(attack.n_releases for _, attack in attacks)
    observed = [
        measure(experiment, deployment, opened.path, folder / "measured", n_releases, data_root, say)
        for deployment in experiment.deployments
    ]
    turns = _turns(experiment, model, data, opened.path, folder / "measured", runs, say)
    ends["measure"] = time.perf_counter()

    head = Releases(opened.head(threads=torch.get_num_threads()), repeats=True, most_bytes=MOST_BYTES).reader()

    view_for = adversary.viewer(
        opened, head, defense, data.auxiliary, codec=experiment.measure.codec, seed=experiment.seed,
        key=experiment.defense.key, vantage=vantage,
    )  # fmt: skip
    seen = {entry.deployment.label: entry.seen for entry in observed}
    metrics = Chosen(experiment.measure.metrics, weights_root)
    if metrics.need("judge", data.modality.name):
        metrics = replace(metrics, judge=judge(experiment, data, runs, weights_root, say))
    if metrics.need("embed", data.modality.name):
        metrics = replace(metrics, embed=lambda inputs: torch.from_numpy(training.outputs(baseline, inputs.numpy())))
    achieved, failed = adversary.attack_all(attacks, view_for, seen, data, metrics, folder / "attacks", say)
    ends["attack"] = time.perf_counter()

    probed, unprobed = probe_all(experiment, opened, head, defense, data, say)
    ends["probe"] = time.perf_counter()

    facts = defense.facts(head(data.auxiliary.inputs[:FACTS_FROM]))
    undefended = split_at_cut(model, experiment.cut, data.input).head
    smooth = data.modality.continuous
    passed = spectrum(split.head, data.auxiliary.inputs, undefended) if smooth else None
    ends["spectrum"] = time.perf_counter()
    bound = ceiling(defense, head, data, experiment.measure.private, experiment.seed)
    ends["ceiling"] = time.perf_counter()
    predicted = predictors(split.head, defense, data.auxiliary.inputs, experiment.seed) if smooth else None
    ends["predict"] = time.perf_counter()
    seconds = {part: end - start for (_, start), (part, end) in pairwise(ends.items())}
    served = {entry.deployment.label: entry.answers for entry in observed}
    as_they_are = answers_vectors(experiment, model)
    answers = answers_of(test.labels, undefended_answers, served, vectors=as_they_are)
    record = result(
        experiment, opened.manifest, data, defense, passed, bound, predicted, facts, answers, observed, turns, achieved,
        [*failed, *unprobed], seconds,
    )  # fmt: skip
    record = replace(
        record,
        judge=metrics.judge.title if metrics.judge else "",
        probes=tuple(probed),
        flags=(*record.flags, *under_trained(probed)),
    )
    kept = adversary.kept(attacks, data, experiment.measure.private, folder / "attacks")
    timed = {entry.deployment.label: entry.timed for entry in observed}
    for label, times in turns.items():
        timed[label] |= {f"turns_{side}_ns": values for side, values in times.items()}
    try:
        writing.finish(runs, record, env, timed, answers.arrays(), *kept)
    except WriteError as error:
        error.add_note(f"{summary(record)}\n(measured, and not yet recorded; a later start takes it up)")
        raise
    for leftover in (folder / "measured", folder / "attacks", *folder.glob(".*.part")):
        delete(leftover)
    say(summary(record))
    return record


def _smaller(experiment: Experiment) -> str:
    """What to try where an experiment runs out of memory."""
    half = max(1, experiment.training.batch // 2)
    return f"training.batch={half}, with fewer inputs (training.images, measure.auxiliary)"


def _stamped(say: Say) -> Say:
    """Progress lines with the seconds since the experiment began."""
    begin = time.perf_counter()
    return lambda text: say(f"{time.perf_counter() - begin:7.1f} s  {text}")


def _turns(
    experiment: Experiment, model: fx.GraphModule, data: Splits, split: Path, work: Path, runs: Path, say: Say
) -> dict[str, Columns]:
    """The times of each deployment that took turns with the undefended model, by its label."""
    if not experiment.measure.turns or experiment.defense.name == "none":
        return {}
    bare = work / "undefended"
    if not victim.whole(bare, say):
        victim.export(replace(experiment, defense=Named("none")), model, data, bare, say, runs)
    images = data.test.inputs[: experiment.measure.count]
    return {
        deployment.label: take_turns(experiment, deployment, (split, bare), images, work, say)
        for deployment in experiment.deployments
    }
