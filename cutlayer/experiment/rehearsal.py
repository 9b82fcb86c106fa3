"""How long a plan takes on this machine: each part is run for a moment, and the rest is estimated.

Nothing is trained to its end: training, hardening and attacks run for half a second in each of their loops, on a model
that has hardly learned. Their time does not depend on what they have learned. No process is started and no record is
written.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, fx, nn

from cutlayer.attacks.base import Attack, fitted
from cutlayer.attacks.view import Access, View, vantage_named
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense, deployed
from cutlayer.experiment import adversary, victim
from cutlayer.experiment.probing import probe_all
from cutlayer.experiment.spec import Experiment
from cutlayer.models.halves import SplitModel
from cutlayer.models.halves import split as split_at_cut
from cutlayer.models.kept import Say
from cutlayer.privacy.ceiling import ceiling
from cutlayer.privacy.identification import candidates
from cutlayer.privacy.predictors import predictors
from cutlayer.privacy.spectrum import spectrum
from cutlayer.privacy.view import watched, wire
from cutlayer.progress import Rehearsal, rehearsed, words
from cutlayer.records.run import RESULT
from cutlayer.split_folder import SplitFolder, open_split
from cutlayer.tables import Named

PROCESSES_S = {"onnx": 2.5, "torch": 6.0}
"""Start and end of the two processes of a deployment, with their imports and data, by the head's runtime; on two cores
of an AMD EPYC."""

N_TIMED = 20
"""Requests from which the time of all is estimated."""


@dataclass(frozen=True)
class Part:
    """One part of an experiment, the seconds that it is estimated to take, and the attack where it is one."""

    what: str
    seconds: float
    attack: Named | None = None


def rehearse(
    experiments: Sequence[Experiment], runs: Path, load: Callable[[Experiment], Splits], say: Say
) -> list[list[Part]]:
    """Estimate the parts of every experiment, in their order; an experiment that is finished has none.

    Experiments that differ in nothing but their seed, or in how strong their defense is, take the same time, and one of
    them is rehearsed. A model that several experiments share is trained by the first of them. Halves of one form are
    exported once, and that export stands for the others, for it takes longer than all else of a rehearsal.

    Args:
        experiments: Those of one plan, which `cutlayer.experiment.run.check_all` has let pass.
        runs: Folder of the records.
        load: Gives the data of an experiment that is rehearsed.
        say: Called before each rehearsal, with how many are left and the time that they take.
    """
    finished = {experiment.id for experiment in experiments if (runs / experiment.id / RESULT).exists()}
    kinds = {_kind(experiment): experiment for experiment in reversed(experiments) if experiment.id not in finished}
    if kinds:
        say(
            f"{len(experiments)} experiments, {len(finished)} of them finished before; rehearsing "
            f"{len(kinds)} that differ in more than the seed or a strength, each of their loops for half a second"
        )
    known: dict[str, tuple[str, list[Part]]] = {}
    trained: set[str] = set()
    estimates: list[list[Part]] = []
    begin_s = time.perf_counter()
    with TemporaryDirectory() as work:
        exports = _Exports(Path(work))
        for experiment in experiments:
            if experiment.id in finished:
                estimates.append([])
                continue
            key = _kind(experiment)
            if key not in known:
                left_s = (time.perf_counter() - begin_s) / max(1, len(known)) * (len(kinds) - len(known))
                left = f" (about {words(left_s)} left)" if known else ""
                say(f"rehearsal {len(known) + 1} of {len(kinds)}: {experiment}{left}")
                known[key] = experiment.defense.label, _parts(experiment, load(experiment), exports)
            label, parts = known[key]
            training, *others = [replace(p, what=p.what.replace(label, experiment.defense.label)) for p in parts]
            model = victim.cached(experiment, runs)
            estimates.append(others if model.exists() or str(model) in trained else [training, *others])
            trained.add(str(model))
    return estimates


def _kind(experiment: Experiment) -> str:
    """Equal for experiments that take the same time: but for the seed, titles, and numbers that are no counts."""
    same = {**asdict(experiment), "seed": 0}
    options = {k: "" if isinstance(v, float) else v for k, v in experiment.defense.options.items()}
    return repr({**same, "defense": (experiment.defense.name, options)})


class _Exports:
    """Split folders by the form of their halves: a further export of that form is copied, and takes as long.

    Args:
        work: Folder for them.
    """

    def __init__(self, work: Path) -> None:
        self._work, self._made = work, dict[str, tuple[float, Path]]()

    def save(self, halves: SplitModel, save: Callable[..., object], **of: object) -> tuple[float, Path]:
        """Write a split folder with what `of` says of it. Returns the seconds of such an export, and the folder."""
        parts = (halves.head, halves.tail)
        form = repr(
            [(getattr(half, "code", half), {k: v.shape for k, v in half.state_dict().items()}) for half in parts]
        )
        seconds, exported = self._made.get(form, (0.0, None))
        folder, begin_s = self._work / str(len([*self._work.iterdir()])), time.perf_counter()
        save(folder, exported=exported, **of)
        if exported is None:
            seconds = time.perf_counter() - begin_s
            self._made[form] = seconds, folder
        return seconds, folder


def told(experiments: Sequence[Experiment], estimates: Sequence[Sequence[Part]], places: int = 1) -> str:
    """What will be done, with the time of each part and the sum, for a terminal.

    Args:
        experiments: The experiments.
        estimates: The parts of each.
        places: How many experiments run at once; the sum is divided by it, which holds where each has cores of its own.
    """
    lines = []
    for experiment, parts in zip(experiments, estimates, strict=True):
        lines.append(f"{experiment}: {_sum(parts) if parts else 'finished before'}")
        lines += [f"  {words(part.seconds):>7}  {part.what}" for part in parts]
    whole = [part for parts in estimates for part in parts]
    lines.append(f"In all {_sum(whole)} on this machine{', one after the other' if places > 1 else ''}.")
    if places > 1:
        lines.append(f"With {places} at once, each on cores of its own, {_sum(whole, places)}.")
    return "\n".join(lines)


def _sum(parts: Sequence[Part], places: int = 1) -> str:
    return f"about {words(sum(part.seconds for part in parts) / places)}"


def _parts(experiment: Experiment, data: Splits, exports: _Exports) -> list[Part]:
    data, parts = victim.shown(experiment, data), list[Part]()
    with TemporaryDirectory() as work, rehearsed(most_s=0.5) as clock:

        def timed(what: str, since_s: float) -> None:
            parts.append(Part(what, clock.now_s() - since_s))

        begin_s = clock.now_s()
        model: fx.GraphModule = victim.train(experiment, data, _silent)
        timed(f"training {experiment.model} on {len(data.train):,} {data.modality.one[1]}", begin_s)

        begin_s = clock.now_s()
        undefended = split_at_cut(model, experiment.cut, data.input)
        halves, hardening = victim.hardened(experiment, undefended, data, _silent)
        hardened_s, save = clock.now_s() - begin_s, victim.saving(experiment, model, data, halves)
        of = {"name": experiment.defense.name, **experiment.defense.options}
        seconds, folder = exports.save(halves, save, defense=of, learned=hardening.learned)
        what = "" if experiment.defense.name == "none" else f"hardening with {experiment.defense.label}, "
        parts.append(Part(f"{what}cutting, export", hardened_s + seconds))

        opened = open_split(folder)
        if epochs := deployed(opened).further_epochs:
            begin_s = clock.now_s()
            victim.further(experiment, model, data, epochs, Path(work), _silent)
            timed("training the undefended model further, for as many epochs as the defense has", begin_s)
        defense = deployed(opened)
        parts += after_export(experiment, data, opened, adversary.attacks(experiment.attacks, defense), clock)
        parts += beside_attacks(experiment, data, opened, defense, undefended.head, clock)
    return parts


def after_export(
    experiment: Experiment,
    data: Splits,
    opened: SplitFolder,
    attacks: Sequence[tuple[Named, Attack]],
    clock: Rehearsal,
) -> list[Part]:
    """Estimate what follows the export of a split folder: the requests over each deployment, and each attack.

    Args:
        experiment: Deployments, number of requests and codec.
        data: The data, as far as the experiment uses it.
        opened: The split folder.
        attacks: The attacks, not yet fitted.
        clock: The rehearsal in which this is called.
    """
    setup, parts, defense = experiment.measure, list[Part](), deployed(opened)
    n_releases = max(attack.n_releases for _, attack in attacks)
    head, tail = opened.head(), opened.tail()
    wired = wire(head, defense, setup.codec, [experiment.seed], opened.manifest.length)
    begin_s = clock.now_s()
    for image in data.test.inputs[:N_TIMED]:
        tail(wired(image[None]))
    each_s = (clock.now_s() - begin_s) / min(N_TIMED, len(data.test))
    n_requests = setup.warmup + setup.count + n_releases * setup.private
    for deployment in experiment.deployments:
        seconds = setup.servers * PROCESSES_S[deployment.head] + n_requests * each_s
        parts.append(Part(f"{n_requests:,} requests over {deployment.label}", seconds))

    return parts + _attacked(experiment, data, opened, defense, attacks, clock)


def beside_attacks(
    experiment: Experiment,
    data: Splits,
    opened: SplitFolder,
    defense: Defense,
    undefended: nn.Module,
    clock: Rehearsal,
) -> list[Part]:
    """Estimate what a run does beside the attacks that its plan names: what is computed for every defense alike.

    Args:
        experiment: Probes, what the attackers are granted, and the number of private inputs.
        data: The data, as far as the experiment uses it.
        opened: A split folder whose smashed data has the shape of the experiment's.
        defense: The experiment's defense, ready to protect.
        undefended: The head before the defense changed it.
        clock: The rehearsal in which this is called.
    """
    setup, parts = experiment.measure, list[Part]()
    granted, vantage = Access.named(setup.access), vantage_named(setup.vantage)
    named = adversary.attacks(experiment.attacks, defense)
    listed = adversary.watch_lists(named, defense, granted, vantage)
    parts += [replace(p, attack=None) for p in _attacked(experiment, data, opened, defense, listed, clock)]
    head, halves, seed = opened.head(), opened.halves(), experiment.seed
    own = data.auxiliary.inputs
    works: dict[str, Callable[[], object]] = {
        "probing": lambda: probe_all(experiment, opened, head, defense, data, _silent),
        "the spectrum of the head": lambda: data.modality.continuous and spectrum(halves.head, own, undefended),
        "the ceiling of any attacker": lambda: ceiling(defense, head, data, setup.private, seed),
        "predictors of leakage": lambda: data.modality.continuous and predictors(halves.head, defense, own, seed),
    }
    for what, work in works.items():
        begin_s = clock.now_s()
        work()
        parts.append(Part(what, clock.now_s() - begin_s))
    return parts


def _attacked(
    experiment: Experiment,
    data: Splits,
    opened: SplitFolder,
    defense: Defense,
    attacks: Sequence[tuple[Named, Attack]],
    clock: Rehearsal,
) -> list[Part]:
    """Each attack on what all deployments send; what two attacks have in common is fitted once, as in a run."""
    setup, parts, head, many = experiment.measure, list[Part](), opened.head(), len(experiment.deployments)
    view_for = adversary.viewer(
        opened, head, defense, data.auxiliary, codec=setup.codec, seed=experiment.seed, key=experiment.defense.key,
        vantage=vantage_named(setup.vantage),
    )  # fmt: skip
    for named, attack in attacks:
        # In a run, the devices make these releases.
        passing = watched(attack.sees, head, defense, setup.codec, [experiment.seed], opened.manifest.length)
        private = data.private.inputs[: setup.private]
        releases = torch.stack([torch.tensor(passing(private)) for _ in range(attack.n_releases)])
        seconds = attacked_s(attack, view_for(named, attack), releases, candidates(data), clock, many)
        parts.append(Part(f"attacking with {named.label}", seconds, named))
    return parts


def attacked_s(
    attack: Attack, seen: View, releases: Tensor, among: Tensor, clock: Rehearsal, deployments: int = 1
) -> float:
    """Estimate how many seconds an attack takes, fitted and played against what several deployments send.

    Args:
        attack: The attack, not yet fitted.
        seen: All that it may touch. What it fits is of no use, and stays in this view.
        releases: What one deployment sends, ``(n_releases, N, *smashed.shape)``.
        among: The candidates of an attack that identifies.
        clock: The rehearsal in which this is called.
        deployments: Their number.
    """
    begin_s = clock.now_s()
    attack = fitted(attack, seen)
    releases, fitted_s = releases.to(seen.device), clock.now_s()
    if attack.reconstructs:
        attack.invert_releases(releases)
    seconds = fitted_s - begin_s + (clock.now_s() - fitted_s) * deployments
    if type(attack).identify is not Attack.identify:
        begin_s = clock.now_s()
        attack.identify(releases.repeat(1, deployments, *[1] * (releases.ndim - 2)), among.to(seen.device))
        seconds += clock.now_s() - begin_s
    return seconds


def _silent(text: str) -> None:
    """A rehearsal does not say that it trains."""
