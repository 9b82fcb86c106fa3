"""The attack on a recorded tap: what the wire kept is the evidence, and neither device nor server is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cutlayer.attacks.view import Access, Vantage
from cutlayer.data.legend import legend_of
from cutlayer.data.load import check_taken, load
from cutlayer.data.overlap import check_apart
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import deployed
from cutlayer.errors import ConfigError
from cutlayer.experiment import adversary
from cutlayer.experiment.recorded import Truth, read_tap, read_truth
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.files import check_writable
from cutlayer.machine.memory import enough_memory
from cutlayer.machine.ranks import first_writes
from cutlayer.models.kept import Say
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.privacy.releases import MOST_BYTES, Releases
from cutlayer.privacy.score import NO_MORE, Chosen
from cutlayer.records.files import write_text
from cutlayer.records.tap import PAGE, TAP_SCHEMA, TapRecord, finish
from cutlayer.report.runs.tap import page
from cutlayer.split_folder import SplitFolder
from cutlayer.tables import Named

PLACE = "tap"
"""The name of the deployment in the rows: a tap does not say over what its requests came."""

_SMALLER = "fewer inputs (--count), or fewer of the attackers (--auxiliary)"


def attack_tap(
    tap: Path,
    split: SplitFolder,
    asked: Sequence[Named],
    out: Path,
    *,
    data: str,
    access: Access,
    vantage: Vantage,
    say: Say,
    truth: Path | None = None,
    metrics: Chosen = NO_MORE,
    codec: str = "",
    releases: int = 1,
    count: int | None = None,
    auxiliary: int = 0,
    seed: int = 0,
    data_root: Path | None = None,
) -> TapRecord:
    """Attack what a tap holds, with the code and the rows of a run, and write what came of it.

    Args:
        tap: The folder that `cutlayer cloud --tap` wrote.
        split: The split folder that was served.
        asked: The attacks.
        out: Folder of the results: `attacks.json`, `reconstructions.npz`, `page.html`, and with the truth `scores.npz`.
        data: Name or path of the data set; the attackers hold its auxiliary part.
        access: What they are granted of the head.
        vantage: Where they sit.
        say: Called when there is work to do.
        truth: File that says what the requests carried, see `cutlayer.experiment.recorded.read_truth`; without it,
            nothing is scored.
        metrics: Metrics beside the standard ones.
        codec: Name of the codec; what the requests say if empty.
        releases: Without a record: the number of rounds in which the device sent the same inputs.
        count: Attack the first so many inputs; all if None.
        auxiliary: The first so many images of the attackers; 0 for all.
        seed: Seed of the data's parts, of the attackers and of the intervals.
        data_root: Folder of the data sets that are not embedded.

    Raises:
        SplitError: The tap was recorded for another split.
        WithheldError: An attack needs more than is granted.
        DataError: The tap, the data or the truth is missing, damaged, or does not belong to the others; or the
            attackers hold some of the private images already.
        ConfigError: Something else cannot work, or all attacks failed.
        WriteError: The user may not write to `out`.
    """
    check_writable(out, "folder")
    tune_allocator()
    adversary.check_granted(asked, access, vantage)
    manifest, known = split.manifest, None if truth is None else read_truth(truth)
    if len(manifest.data_inputs) > 1:
        raise ConfigError(f"Attacks rebuild one input, and the head of {split.path} takes {len(manifest.data_inputs)}.")
    seen, codec, notes = read_tap(tap, manifest, codec=codec, truth=known, releases=releases, count=count)
    n_releases, n = next(iter(seen.values())).shape[:2]
    held = attackers_data(data, split, auxiliary, seed, data_root)
    adversary.check_rebuild(asked, held)
    notes += held.notes
    answer = _truth(known, held, n)
    notes += metrics.notes(n, judged=metrics.judge is not None)
    if answer is None:
        notes.append("The truth is not at hand, so that nothing could be scored: there are reconstructions alone.")
        if releases == 1:
            notes.append("Nothing in a tap tells which requests carry the same input: each counts as one of its own.")
    for note in notes:
        say(note)
    defense = deployed(split)
    attacks = adversary.attacks(asked, defense)
    if len(attacks) < len(asked):
        say("The defense draws nothing, so that attacks that average several releases gain nothing and are left out.")
    if answer is not None:
        at_hand = access if split.has_halves else min(access, Access.BLACK_BOX)
        attacks += adversary.watch_lists(attacks, defense, at_hand, vantage)
    head = Releases(split.head(threads=torch.get_num_threads()), repeats=True, most_bytes=MOST_BYTES).reader()
    named = defense_named(manifest)
    view_for = adversary.viewer(
        split, head, defense, held.auxiliary, codec=codec, seed=seed, key=named.key, vantage=vantage
    )
    with tempfile.TemporaryDirectory(prefix="cutlayer-") as scratch, enough_memory(f"The attack on {tap}", _SMALLER):
        work = Path(scratch)
        achieved, failed = adversary.attack_all(attacks, view_for, {PLACE: seen}, answer, metrics, work, say)
        rebuilt, scores = adversary.finished(attacks, work)
    record = TapRecord(
        schema=TAP_SCHEMA, model=tail_name(manifest), version=manifest.version, defense=named.label, codec=codec,
        data=held.name, seed=seed, access=access.name, vantage=vantage.name, input=manifest.input.shape, n=n,
        n_releases=n_releases, scored=answer is not None, attacks=achieved.rows, failed=tuple(failed),
        notes=tuple(notes), identification=achieved.identification, modality=held.modality.name,
    )  # fmt: skip
    private = None if answer is None else answer.private.take(n)
    by_attack = {label: images for (_, label), images in rebuilt.items()}
    of_attack = {name.removeprefix(f"{PLACE}/"): values for name, values in scores.items()}
    originals = None if private is None else private.inputs
    legend = legend_of(held, [*by_attack.values(), *([] if originals is None else [originals])])
    with first_writes(out) as folder:
        write_text(folder / PAGE, page(record, originals, by_attack, legend))
        finish(folder, record, originals, by_attack, of_attack)
    return record


def attackers_data(name: str, split: SplitFolder, auxiliary: int, seed: int, root: Path | None) -> Splits:
    """The data, with no more auxiliary inputs than the attackers get; text in the tokens of the split."""
    manifest = split.manifest
    data = load(name, root, seed, shape=manifest.input.shape, tokenizer=split.tokenizer)
    check_taken(data, manifest.input)
    return replace(data, auxiliary=data.auxiliary.take(auxiliary or None))


def _truth(known: Truth | None, data: Splits, n: int) -> Splits | None:
    """The data with what was attacked as its private part; None where that is unknown."""
    if known is None:
        return None
    answer = known.of(data, n)
    check_apart(answer, n)
    return answer


def defense_named(manifest: Manifest) -> Named:
    """The defense of a split folder, as in a plan."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in manifest.defense.items() if k != "name"}
    return Named(str(manifest.defense["name"]), options)
