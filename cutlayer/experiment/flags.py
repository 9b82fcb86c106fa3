"""Red flags: signs that the evaluation itself is suspect, after AutoAttack's `flags_doc.md`.

They judge the victim and the attacks, not the defense: a leakage that is too low is first a suspect.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer import own
from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import SMASHED, Access, vantage_named
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense
from cutlayer.experiment.adversary import Achieved
from cutlayer.experiment.spec import Experiment
from cutlayer.metrics.interval import exact_proportion
from cutlayer.nets.decoders import build
from cutlayer.privacy.spectrum import ill_conditioned
from cutlayer.records.run import (
    WATCH_LIST,
    AttackRecord,
    Ceiling,
    Estimate,
    FailedAttack,
    Flag,
    IdentificationRecord,
    Spectrum,
    Utility,
    Vectors,
)
from cutlayer.registry import ATTACKS, CODECS, DEFENSES, defense_names
from cutlayer.report.kit.kinds import Kind, kind_of
from cutlayer.tables import Named
from cutlayer.wire.codecs.packed import parts

INVERTIBLE_GAIN = 0.5
"""An undefended shallow cut that leaks less than half of the mean image's error was attacked badly, or is deep."""

NEAR_CHANCE = 0.1
"""Share of the way from guessing to no error that a victim's model must have come, or its cut is that of no model."""

SAME_VECTORS = 0.02
"""How near to 1 the mean cosine of two different inputs is where a model tells nothing apart."""

SURE = 0.998
"""Confidence of the interval whose lower end is above the ceiling before an identification rate counts as above it."""

Flags = Iterator[Flag]


def flags(
    experiment: Experiment,
    achieved: Achieved,
    data: Splits,
    defense: Defense,
    spectrum: Spectrum | None,
    ceiling: Ceiling,
) -> tuple[Flag, ...]:
    """Every flag that an experiment raises: `achieved` is of the attacks that ran, `defense` is as deployed."""
    rows, raised = achieved.rows, [Flag("data", note) for note in data.notes]
    raised += _no_watch_list(achieved.identification)
    raised += [
        *order(rows),
        *_useless(rows, experiment, kind_of(data.modality.name)),
        *_overlap(data, experiment.measure.private),
    ]
    raised += above_ceiling(achieved, ceiling)
    sees = SMASHED in vantage_named(experiment.measure.vantage).sees
    if sees and experiment.defense.name == "none" and rows and max(_gain(row) for row in rows) < INVERTIBLE_GAIN:
        text = f"No attack got past a leakage gain of {INVERTIBLE_GAIN} on the undefended model."
        raised.append(Flag("baseline-not-invertible", text))
    if rows:
        run = [named for named in experiment.attacks if any(row.label == named.label for row in rows)]
        attacks = [part for named in run for part in ATTACKS.make(named.name, **named.options).parts]
        kinds = {
            named.label: (named.name, *((k, repr(v)) for k, v in named.options.items() if k != "n_releases"))
            for named in run
        }
        raised += [*_averaging(rows, kinds, defense), *_decoders(attacks, defense)]
        raised += _under_trained(run)
        raised += [*_masks(attacks, experiment), *_masked_gradient(attacks, spectrum)]
    return tuple(raised)


def unfit(utility: Utility, labels: NDArray[np.int64], samples: str) -> Flags:
    """A model that has learned nothing, or a defense that has destroyed what it learned, protects nothing of use.

    Chance is what the most frequent class alone reaches as an answer; `labels` are those of the test
    inputs, which are called `samples`.
    """
    if utility.vectors is not None:
        yield from _unfit_vectors(utility.vectors, samples)
        return
    chance = np.bincount(labels).max() / len(labels)
    for name, subject, accuracy in (
        ("victim-near-chance", "The model without a defense", utility.baseline),
        ("defended-near-chance", "The model with the defense", utility.accuracy),
    ):
        if accuracy is not None and accuracy.low < chance + NEAR_CHANCE * (1 - chance):
            yield Flag(
                name,
                f"{subject} answers {accuracy.value:.1%} of {accuracy.n:,} test {samples} rightly, and always the same "
                f"answer would do so for {chance:.1%}: what leaks of such a model says little about one that works.",
            )
            return


def _unfit_vectors(vectors: Vectors, samples: str) -> Flags:
    """A model whose vectors tell nothing apart, or a defense behind which a vector might be that of another input."""
    near, apart = vectors.cosine, vectors.apart
    if apart > 1 - SAME_VECTORS:
        yield Flag(
            "victim-near-chance",
            f"The model without a defense gives nearly the same vector for any two test {samples} (mean cosine "
            f"{apart:.3f}): what leaks of such a model says little about one that works, and a cosine near 1 is no "
            "sign that its answers stay of use.",
        )
    elif near.low < apart + NEAR_CHANCE * (1 - apart):
        yield Flag(
            "defended-near-chance",
            f"With the defense, the vectors of {near.n:,} test {samples} have a mean cosine of {near.value:.3f} to "
            f"their own without it, and those of two different ones have {apart:.3f}: what leaks of such a model says "
            "little about one that works.",
        )


def _no_watch_list(found: Sequence[IdentificationRecord]) -> Flags:
    """What reconstructions do not tell apart, an attacker who encodes the candidates itself may."""
    if all(record.how != WATCH_LIST for record in found):
        yield Flag(
            "no-watch-list",
            "No attack encoded the candidates itself (watch-list): the share of identified inputs is that of "
            "reconstructions, and is too low where those are poor.",
        )


def failures(failed: Sequence[FailedAttack]) -> Flags:
    """An attack that failed may have been the worst."""
    for attack in failed:
        yield Flag("attack-failed", f"{attack.label} failed and has no figure: {attack.reason}")


def _averaging(rows: Sequence[AttackRecord], kinds: Mapping[str, tuple[Any, ...]], defense: Defense) -> Flags:
    """A random defense is as strong as it is against an attacker who averages until more releases gain nothing.

    Attacks that ran with several numbers of releases show whether they gain; where there is none, all attacks do.
    `kinds` are the attacks by label: name and options, but for the number of releases.
    """
    if not defense.random:
        return
    if all(row.n_releases == 1 for row in rows):
        yield Flag("no-averaging", "The defense is random, and no attack averaged several releases of one input.")
        return
    kind_of_row = [kinds.get(row.label, (row.attack,)) for row in rows]
    series = Counter(kind for kind, _ in {(kind, row.n_releases) for kind, row in zip(kind_of_row, rows, strict=True)})
    best: dict[int, AttackRecord] = {}
    for row in [row for kind, row in zip(kind_of_row, rows, strict=True) if series[kind] > 1] or rows:
        best[row.n_releases] = max(row, best.get(row.n_releases, row), key=_gain)
    *_, fewer, most = [1, *sorted(best)][-2:]
    if fewer in best and best[most].leakage_gain.low > best[fewer].leakage_gain.high:
        yield Flag(
            "averaging-not-exhausted",
            f"From {fewer} to {most} releases of one input the leakage gain still rose from {_gain(best[fewer]):.2f} "
            f"to {_gain(best[most]):.2f}: an attacker who waits longer sees more than the worst case says.",
        )


def _decoders(attacks: Sequence[Attack], defense: Defense) -> Flags:
    """A head that was trained against a decoder may have learned to fool networks of that size, and no larger."""
    against = [name for part in defense.parts for name in part.decoders]
    tried = [name for attack in attacks for name in attack.decoders]
    if against and max(map(_size, tried), default=0) < max(map(_size, against)):
        strongest = f"the largest that attacked it is {max(tried, key=_size)}" if tried else "no decoder attacked it"
        yield Flag(
            "decoder-too-small",
            f"The defender trained against the decoder {max(against, key=_size)}; {strongest}. "
            "The attacker's must be at least as large.",
        )


def _size(name: str) -> int:
    """Number of weights of the decoder of this name, for one shape of smashed data."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(name, (16, 8, 8), (3, 32, 32)).parameters())


def _under_trained(run: Sequence[Named]) -> Flags:
    """An attack that stops too early makes a defense look strong."""
    for named in run:
        for attack in ATTACKS.make(named.name, **named.options).parts:
            if attack.steps is not None and attack.steps < attack.least_steps:
                yield Flag(
                    "under-trained",
                    f"{named.label} made {attack.steps} steps ({attack.steps_option}); with fewer than "
                    f"{attack.least_steps} the attack is weaker than it has to be.",
                )


def _masks(attacks: Sequence[Attack], experiment: Experiment) -> Flags:
    """The positions of the values that were left out are a message of their own."""
    defenses = defense_names({"name": experiment.defense.name, **experiment.defense.options})
    codecs = [part.name for part in parts(experiment.measure.codec)]
    senders = [(DEFENSES, name) for name in defenses] + [(CODECS, name) for name in codecs]
    masks = [name for registry, name in senders if registry.load(name).sends_zeros]
    if masks and not any(attack.sees_mask for attack in attacks):
        yield Flag(
            "no-mask-aware-attack",
            f"With {own.attribute(masks[0])} most values arrive as zero, and no attack was told which ones "
            "(mask-aware): their positions alone may rebuild the input.",
        )


def _masked_gradient(attacks: Sequence[Attack], spectrum: Spectrum | None) -> Flags:
    """Faint is not gone, but to a descent on the plain misfit it looks so."""
    if spectrum is None:
        return
    before, after = spectrum.undefended.condition, spectrum.head.condition
    rescaled = any(attack.rescales_misfit for attack in attacks)
    if ill_conditioned(spectrum) and after > before and not rescaled:
        yield Flag(
            "no-preconditioned-attack",
            f"The defense made the faintest direction of the input {after:,.0f} times fainter than the strongest "
            f"({before:,.0f} times without it), and no white-box attack rescaled its misfit: what looks like "
            "protection may be a masked gradient.",
        )


def above_ceiling(achieved: Achieved, ceiling: Ceiling) -> Flags:
    """An attack did what no attacker can, by more than both intervals allow.

    A record is compared with the ceiling of at least as many releases of the same private inputs. The ceiling is
    simulated, so that an attack at the ceiling is above the bound of 95 % now and then, and a report compares hundreds
    of rates.
    """
    reached: list[tuple[str, AttackRecord | IdentificationRecord, Estimate]] = []
    reached += [("has a leakage gain of", row, row.leakage_gain) for row in achieved.rows]
    reached += [(f"identifies by its {found.how}", found, found.top_1) for found in achieved.identification]
    for what, record, share in reached:
        if (bounds := ceiling.over(record.n_releases)) is None:
            continue
        bound = bounds.leakage_gain if isinstance(record, AttackRecord) else bounds.identified
        if isinstance(record, IdentificationRecord):
            share = exact_proportion(share.value * share.n, share.n, SURE)
        if share.low > bound.high:
            yield Flag(
                "above-the-ceiling",
                f"{record.label} ({record.deployment}) {what} {share.value:.1%} (at least {share.low:.1%}) from "
                f"{record.n_releases} releases, and the ceiling is {bound.high:.1%}: one of the two is wrong.",
            )


def _gain(row: AttackRecord) -> float:
    return row.leakage_gain.value


def order(rows: Sequence[AttackRecord]) -> Flags:
    """Weaker access beats stronger by more than both intervals allow: the stronger attack is under-trained."""
    best: dict[str, AttackRecord] = {}
    for row in rows:
        if row.n_releases == 1 and _gain(row) > _gain(best.get(row.access, row)) - 1e-12:
            best[row.access] = row
    for weak, strong in combinations(sorted(Access), 2):
        a, b = best.get(weak.name), best.get(strong.name)
        if a and b and a.leakage_gain.low > b.leakage_gain.high:
            text = f"{a.label} ({weak.name.lower()}) beats {b.label} ({strong.name.lower()})"
            yield Flag("weaker-beats-stronger", f"{text}: the attack with the stronger access is not at its best.")


def _useless(rows: Sequence[AttackRecord], experiment: Experiment, kind: Kind) -> Flags:
    names = {ATTACKS.label(attack.name): attack.name for attack in experiment.attacks}
    for row in rows:
        if not ATTACKS.load(names.get(row.attack, row.attack)).is_floor and row.leakage_gain.high <= 0:
            yield Flag(
                "no-better-than-mean", f"{row.label} ({row.deployment}) is no better than guessing {kind.guess}."
            )


def _overlap(data: Splits, n_private: int) -> Flags:
    """What the auxiliary part shares with the private one is refused before anything is trained."""
    shared = len(_hashes(data.private.take(n_private).inputs) & _hashes(data.train.inputs))
    if shared:
        samples = data.modality.one[1]
        yield Flag("train-overlap", f"{shared} private {samples} are in the train part too, with equal values.")


def _hashes(images: Iterable[NDArray[np.float32]]) -> set[bytes]:
    return {hashlib.sha256(image.tobytes()).digest() for image in images}
