"""Red flags: signs that the evaluation itself is suspect, after AutoAttack's `flags_doc.md`.

They judge the attacks, not the defense: a leakage that is too low is first a suspect.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.features.misfit import PRECONDITIONED
from attacks.view import Access
from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError
from cutlayer.experiment.spec import Experiment
from cutlayer.nets.decoders import build
from cutlayer.privacy.spectrum import ill_conditioned
from cutlayer.records.run import AttackRecord, Flag, Spectrum
from cutlayer.registry import ATTACKS
from defenses.base import Chain, Defense

INVERTIBLE_GAIN = 0.5
"""An undefended shallow cut that leaks less than half of the mean image's error was attacked badly, or is deep."""

FLOORS = ("mean-image",)

MASKS = ("dropout", "top-k")
"""Defenses and codecs that send zeros in place of values."""

Flags = Iterator[Flag]
Kind = tuple[Any, ...]
"""An attack with its options, but for the number of releases."""


def flags(
    experiment: Experiment, rows: Sequence[AttackRecord], data: Splits, defense: Defense, spectrum: Spectrum
) -> tuple[Flag, ...]:
    """Every flag that the rows of one experiment raise.

    Args:
        experiment: Which attacks were asked for, against what.
        rows: What they reached.
        data: What it was measured on.
        defense: As deployed.
        spectrum: Spectrum of the head's Jacobian.
    """
    found = [
        *_order(rows),
        *_useless(rows),
        *_overlap(data, experiment.measure.private),
    ]
    if experiment.defense.name == "none" and rows and max(_gain(row) for row in rows) < INVERTIBLE_GAIN:
        text = f"No attack got past a leakage gain of {INVERTIBLE_GAIN} on the undefended model."
        found.append(Flag("baseline-not-invertible", text))
    if rows:
        named = [one for one in experiment.attacks if any(row.label == one.label for row in rows)]
        attacks = [option for one in named for option in _settings(ATTACKS.make(one.name, **one.options))]
        kinds = {
            one.label: (one.name, *((k, repr(v)) for k, v in one.options.items() if k != "n_releases")) for one in named
        }
        found += [*_averaging(rows, kinds, defense), *_decoders(attacks, defense)]
        found += [*_masks(attacks, experiment), *_masked_gradient(attacks, spectrum)]
    return tuple(found)


def _settings(attack: Attack) -> Iterator[tuple[str, Any]]:
    """The options of an attack and of the one inside it, defaults included; ``is`` is the class's name."""
    yield "is", type(attack).__name__
    for name, value in vars(attack).items():
        if isinstance(value, Attack):
            yield from _settings(value)
        elif not name.startswith("_"):
            yield name, value


def _averaging(rows: Sequence[AttackRecord], kinds: Mapping[str, Kind], defense: Defense) -> Flags:
    """A random defense is as strong as it is against one who waits, and waits until more releases tell no more.

    Whether they do is told by the attacks that ran with several numbers of releases, or else by all.
    """
    if not defense.random:
        return
    if all(row.n_releases == 1 for row in rows):
        yield Flag("no-averaging", "The defense is random, and no attack averaged several releases of one input.")
        return
    asked = [kinds.get(row.label, (row.attack,)) for row in rows]
    series = Counter(kind for kind, _ in {(kind, row.n_releases) for kind, row in zip(asked, rows, strict=True)})
    best: dict[int, AttackRecord] = {}
    for row in [row for kind, row in zip(asked, rows, strict=True) if series[kind] > 1] or rows:
        best[row.n_releases] = max(row, best.get(row.n_releases, row), key=_gain)
    *_, fewer, most = [1, *sorted(best)][-2:]
    if fewer in best and best[most].leakage_gain.low > best[fewer].leakage_gain.high:
        yield Flag(
            "averaging-not-exhausted",
            f"From {fewer} to {most} releases of one input the leakage gain still rose from {_gain(best[fewer]):.2f} "
            f"to {_gain(best[most]):.2f}: an attacker who waits longer sees more than the worst case says.",
        )


def _decoders(attacks: Sequence[tuple[str, Any]], defense: Defense) -> Flags:
    """A head that was trained against a decoder may have learned to fool networks of that size, and no larger."""
    links = [link for link in _links(defense) if not link.knob or getattr(link, link.knob)]
    against = [name for link in links for name in vars(link).values() if _size(name)]
    tried = [name for _, name in attacks if _size(name)]
    if against and max(map(_size, tried), default=0) < max(map(_size, against)):
        strongest = f"the largest that attacked it is {max(tried, key=_size)}" if tried else "no decoder attacked it"
        yield Flag(
            "decoder-too-small",
            f"The defender trained against the decoder {max(against, key=_size)}; {strongest}. "
            "The attacker's must be at least as large.",
        )


def _links(defense: Defense) -> Iterator[Defense]:
    """A chain's defenses, in their order."""
    if isinstance(defense, Chain):
        yield from (*_links(defense.first), *_links(defense.second))
    else:
        yield defense


def _size(name: object) -> int:
    """Weights of the decoder that a name stands for, on some smashed data; 0 where it stands for none."""
    if not isinstance(name, str):
        return 0
    try:
        with torch.device("meta"):
            return sum(p.numel() for p in build(name, (16, 8, 8), (3, 32, 32)).parameters())
    except ConfigError:
        return 0


def _masks(attacks: Sequence[tuple[str, Any]], experiment: Experiment) -> Flags:
    """Which values were left out is a message of its own."""
    codecs = [codec.partition(":")[0] for codec in experiment.measure.codec.split("+")]
    names = [*_names({"name": experiment.defense.name, **experiment.defense.options}), *codecs]
    masks = [name for name in names if name in MASKS]
    if masks and ("is", "MaskAware") not in attacks:
        yield Flag(
            "no-mask-aware-attack",
            f"With {masks[0]} most values arrive as zero, and no attack was told which ones (mask-aware): their "
            "positions alone may rebuild the picture.",
        )


def _names(description: Mapping[str, Any]) -> Iterator[str]:
    """Of a defense and of those that follow it."""
    yield description["name"]
    if "then" in description:
        yield from _names(description["then"])


def _masked_gradient(attacks: Sequence[tuple[str, Any]], spectrum: Spectrum) -> Flags:
    """Faint is not gone, but to a descent on the plain misfit it looks so."""
    before, after = spectrum.undefended.condition, spectrum.head.condition
    rescaled = any(name == "misfit" and set(PRECONDITIONED) & set(value) for name, value in attacks)
    if ill_conditioned(spectrum) and after > before and not rescaled:
        yield Flag(
            "no-preconditioned-attack",
            f"The defense made the faintest direction of the picture {after:,.0f} times fainter than the strongest "
            f"({before:,.0f} times without it), and no white-box attack rescaled its misfit: what looks like "
            "protection may be a masked gradient.",
        )


def _gain(row: AttackRecord) -> float:
    return row.leakage_gain.value


def _order(rows: Sequence[AttackRecord]) -> Flags:
    """Weaker access beats stronger by more than both intervals allow: the stronger attack is under-trained."""
    best: dict[str, AttackRecord] = {}
    for row in rows:
        if row.n_releases == 1 and _gain(row) > _gain(best.get(row.access, row)) - 1e-12:
            best[row.access] = row
    for weak, strong in [(w, s) for w in Access for s in Access if w < s]:
        a, b = best.get(weak.name), best.get(strong.name)
        if a and b and a.leakage_gain.low > b.leakage_gain.high:
            text = (
                f"{a.label} ({weak.name.lower()}) beats {b.label} ({strong.name.lower()}): the attack with the "
                "stronger access is not at its best."
            )
            yield Flag("weaker-beats-stronger", text)


def _useless(rows: Sequence[AttackRecord]) -> Flags:
    for row in rows:
        if row.attack not in FLOORS and row.leakage_gain.high <= 0:
            yield Flag("no-better-than-mean", f"{row.label} ({row.deployment}) is no better than the mean image.")


def _overlap(data: Splits, n_private: int) -> Flags:
    for name in ("auxiliary", "train"):
        shared = len(_hashes(data.private.take(n_private).inputs) & _hashes(getattr(data, name).inputs))
        if shared:
            yield Flag(f"{name}-overlap", f"{shared} private images are in the {name} part too, pixel for pixel.")


def _hashes(images: Iterable[NDArray[np.float32]]) -> set[bytes]:
    return {hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images}
