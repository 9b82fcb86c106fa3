"""A plan within a given time: attacks that take steps take fewer of them where this machine is too slow.

Only the steps of attacks change. They are options of the attacks, so that an experiment with fewer steps has another id
and its records state the steps that were made. All experiments of a plan get the same share, or else defenses would be
compared under attacks of different strength. An attack with fewer steps than it needs raises a red flag.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import fx

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.combined import Combined
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import deployed
from cutlayer.experiment import victim
from cutlayer.experiment.rehearsal import after_export, beside_attacks
from cutlayer.experiment.spec import Experiment
from cutlayer.models.halves import split
from cutlayer.models.kept import Say
from cutlayer.progress import Rehearsal, rehearsed, words
from cutlayer.registry import ATTACKS, defense_from
from cutlayer.split_folder import SplitFolder, open_split
from cutlayer.tables import Named, Options

SHARES = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)
"""Shares of the planned steps among which is chosen: few, so that a second run finds the records of the first."""
RESERVE = 0.1
"""Share of the time that is kept for what is not estimated: scores, records, and what the machine does besides."""


def fitted(
    experiments: Sequence[Experiment], data: Splits, left_s: float, runs: Path, *, resume: bool, say: Say
) -> tuple[list[Experiment], dict[str, float]]:
    """The experiments with as many steps of their attacks as fit into the time that begins now.

    The first model is trained and exported, and the run takes both up. On it, undefended, all attacks of the first
    experiment are rehearsed; they stand for those of the others. What a run does beside them is rehearsed for each kind
    of defense. A plan that was begun before keeps its steps.

    Args:
        experiments: Those of one plan.
        data: The data of the first experiment.
        left_s: Seconds for all of them, from now on.
        runs: Folder of the records.
        resume: Whether experiments that were begun before are taken up.
        say: Called with what is done and chosen.

    Returns:
        The experiments, and the seconds of each part of the work that was done here.
    """
    for share in SHARES if resume else ():
        if any((runs / experiment.id).exists() for experiment in shortened(experiments, share)):
            return shortened(experiments, share), {}
    begin_s = time.perf_counter()
    first = replace(experiments[0], defense=Named("none"))
    data = victim.shown(first, data)
    model = victim.trained(first, data, runs, say)
    training_s = time.perf_counter() - begin_s
    untrained = {path for path in (victim.cached(e, runs) for e in experiments) if not path.exists()}
    fixed_s = len(untrained) * training_s
    with TemporaryDirectory() as work, rehearsed(most_s=0.2) as clock:
        victim.export(first, model, data, Path(work) / "split", say, runs)
        attacks = [(named, ATTACKS.make(named.name, **named.options)) for named in first.attacks]
        # An attack that wraps another one takes about as long as that one, which is rehearsed once.
        inner = {repr(_core(attack)): (named, attack) for named, attack in reversed(attacks)}
        opened = open_split(Path(work) / "split")
        parts = after_export(first, data, opened, list(inner.values())[::-1], clock)
        known = {part.attack.key: part for part in parts if part.attack}
        for named, attack in attacks:
            if named.key not in known:
                stand_in, _ = inner[repr(_core(attack))]
                parts.append(replace(known[stand_in.key], attack=named))
        fixed_s += _of_defenses(experiments, model, data, opened, Path(work), clock)
    takes_steps = {named.key for named in first.attacks if steps(named) is not None}
    steps_s = len(experiments) * sum(p.seconds for p in parts if p.attack and p.attack.key in takes_steps)
    fixed_s += len(experiments) * sum(p.seconds for p in parts) - steps_s
    spent_s = time.perf_counter() - begin_s
    usable_s = (1 - RESERVE) * (left_s - spent_s)
    fitting = [share for share in SHARES if fixed_s + share * steps_s <= usable_s]
    share = fitting[0] if fitting else min((s for s in SHARES if _sound(_shortened(first, s))), default=1.0)
    say(
        f"{words(max(0.0, left_s - spent_s))} are left. All steps of the attacks would take about {words(steps_s)}, "
        f"and all else {words(fixed_s)}: {share:.0%} of the planned steps are made"
        f"{'.' if fitting else ', and the time cannot be kept.'}"
    )
    return shortened(experiments, share), {"train": training_s, "rehearse": spent_s - training_s}


def _of_defenses(
    experiments: Sequence[Experiment], model: fx.GraphModule, data: Splits, opened: SplitFolder, work: Path,
    clock: Rehearsal,
) -> float:  # fmt: skip
    """Seconds for what depends on the defense, whatever the attacks of the plan: hardening, watch lists, the ceiling.

    Defenses of one kind take about the same time after they are hardened, and one of them is rehearsed.
    """
    undefended, begin_s = split(model, experiments[0].cut, data.input), clock.now_s()
    trained, known, repeated_s = set[int](), dict[object, float](), 0.0
    for experiment in experiments:
        defense = defense_from({"name": experiment.defense.name, **experiment.defense.options})
        halves = defense.harden(undefended, data, experiment.seed)
        if defense.further_epochs not in trained:
            trained.add(defense.further_epochs)
            victim.further(experiment, model, data, defense.further_epochs, work, _silent)
        kind = *map(type, defense.parts), defense.random
        if kind not in known:
            since_s = clock.now_s()
            place = opened
            if halves.smashed.shape != opened.manifest.smashed.shape:
                victim.export(experiment, model, data, work / experiment.id, _silent)
                place = open_split(work / experiment.id)
                defense = deployed(place)
            beside_attacks(experiment, data, place, defense, undefended.head, clock)
            known[kind] = clock.now_s() - since_s
        else:
            repeated_s += known[kind]
    return clock.now_s() - begin_s + repeated_s


def _silent(text: str) -> None:
    """A rehearsal does not say that it trains."""


def shortened(experiments: Sequence[Experiment], share: float) -> list[Experiment]:
    """The experiments with a share of the steps of each attack that takes any; its title says so."""
    return [_shortened(experiment, share) if share < 1 else experiment for experiment in experiments]


def _shortened(experiment: Experiment, share: float) -> Experiment:
    attacks = tuple(shorter(named, share) for named in experiment.attacks)
    titles = {old.label: new.label for old, new in zip(experiment.attacks, attacks, strict=True)}
    published = tuple(replace(entry, attack=titles.get(entry.attack, entry.attack)) for entry in experiment.published)
    expect = experiment.expect
    for old, new in titles.items():
        # Between " by " and the sign or the end stands a title; a backslash in the new one is no escape.
        title, literally = rf"(?<= by ){re.escape(old)}(?= [<>] |$)", new.replace("\\", r"\\")
        expect = tuple(re.sub(title, literally, text) for text in expect)
    return replace(experiment, attacks=attacks, published=published, expect=expect)


def _sound(experiment: Experiment) -> bool:
    """Whether no attack makes fewer steps than it needs."""
    return all(map(sound, experiment.attacks))


def sound(named: Named) -> bool:
    """Whether an attack, and each one that it contains, makes as many steps as it needs."""
    parts = ATTACKS.make(named.name, **named.options).parts
    return all(part.steps is None or part.steps >= part.least_steps for part in parts)


def shorter(named: Named, share: float) -> Named:
    """An attack with a share of its steps, which its title says; the same where it takes none."""
    planned = steps(named)
    if planned is None:
        return named
    fewer = Named(named.name, _fewer(named.name, named.options, share))
    return replace(fewer, title=f"{named.label}, {steps(fewer)} of {planned} steps")


def steps(named: Named) -> int | None:
    """The steps of an attack, or of the attack that it wraps."""
    parts = ATTACKS.make(named.name, **named.options).parts
    return next((part.steps for part in parts if part.steps is not None), None)


def _core(attack: Attack) -> Attack:
    """The attack that takes the time: of one that only wraps another one, that other one."""
    while attack.steps is None and isinstance(attack, Wrapping):
        (attack,) = attack.contained
    return attack


def _fewer(name: str, options: Options, share: float) -> Options:
    """The options with fewer steps, for the attack itself and for those that it contains."""
    attack, changes = ATTACKS.make(name, **options), Options()
    if attack.steps is not None:
        changes[attack.steps_option] = max(1, round(share * attack.steps))
    if isinstance(attack, Combined):
        entries = [(entry["name"], {k: v for k, v in entry.items() if k != "name"}) for entry in attack.attacks]
        changes["attacks"] = tuple({"name": name, **_fewer(name, rest, share)} for name, rest in entries)
    elif isinstance(attack, Wrapping):
        changes["options"] = _fewer(attack.attack, attack.options or {}, share) or None
    # As in a plan, what equals its default is left out, for the id.
    defaults = ATTACKS.options(name)
    return {k: v for k, v in {**options, **changes}.items() if k not in changes or v != defaults[k].default}
