"""Which attacks an audit runs: in the order of their cost, those that apply, with the steps that the time allows.

Time is spent on what costs little first. An attack that takes steps is rehearsed for a moment; it gets at most half of
the time that is left, so that one long attack does not keep all others from running, and makes fewer steps where that
is too little, down to those that it needs. What does not run is said, with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.combined import Combined
from cutlayer.attacks.view import Access, View
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.defenses.base import Defense
from cutlayer.experiment.budget import RESERVE, SHARES, shorter, sound, steps
from cutlayer.experiment.rehearsal import attacked_s
from cutlayer.progress import rehearsed, words
from cutlayer.records.audit import BUDGET, DOES_NOT_APPLY, NO_ACCESS, NotTried
from cutlayer.registry import ATTACKS, CODECS
from cutlayer.split_folder import SplitFolder
from cutlayer.tables import Named, Options
from cutlayer.wire.codecs.packed import parts as codec_parts

MOST = 0.5
"""Share of the time left that one attack may take, where it can do with fewer steps."""
REHEARSED_S = 0.2
"""Seconds after which each loop of a rehearsal ends."""
AT_ONCE = frozenset(("mean-image", "marginal", "nearest", "watch-list", "ridge", "averaging", "traffic", "pca-ridge"))
"""Attacks that are done in one go where they contain none that takes steps: a rehearsal would take as long as they."""
LISTED = "watch-list"
"""The attack that every audit plays with as many releases, and by the likelihood, as can be had."""
OF_IMAGES = "mean-image"
"""The floor of images; it takes rows too, whose floor says for each column what is right most often."""
INSTEAD = "ridge"
"""What an attack begins with whose usual beginning the time does not allow."""


@dataclass(frozen=True)
class Rung:
    """An attack of the ladder.

    Attributes:
        name: Its name in the registry.
        options: Those that differ from their defaults.
        waits: Whether it averages as many releases as are observed, which it gets as the option ``n_releases``.
        lacks: A key of `LACKS`: what there has to be, or else the attack does not apply.
    """

    name: str
    options: Mapping[str, object]
    waits: bool = False
    lacks: str = ""


LADDER = (
    Rung("mean-image", {}),
    Rung("marginal", {}),
    Rung("nearest", {}),
    Rung(LISTED, {}),
    Rung("ridge", {}),
    Rung("averaging", {}, waits=True, lacks="draws"),
    Rung("traffic", {}, lacks="lengths"),
    Rung("pca-ridge", {}),
    Rung("map", {"attack": INSTEAD}),
    Rung("kernel-ridge", {}),
    Rung("decoder", {}),
    Rung("table-decoder", {}),
    Rung("mask-aware", {}, lacks="masks"),
    Rung("map", {}),
    Rung("stack", {}),
    Rung("averaging", {"attack": "decoder"}, waits=True, lacks="draws"),
    Rung("averaging", {"attack": "table-decoder"}, waits=True, lacks="draws"),
    Rung("query-free", {"attack": "decoder"}),
    Rung("ensemble", {}),
    Rung("denoise-first", {}, lacks="draws"),
    Rung("white-box", {}),
    Rung("table-search", {}),
    Rung("learned-step", {}),
    Rung("generator", {}),
    Rung("deep-prior", {}),
    Rung("diffusion-prior", {}),
)
"""The attacks from the cheapest on; other registered ones follow with their defaults."""

LACKS = {
    "draws": "The defense draws nothing at random, so that every release of an input is the same.",
    "several": "One release of each input was observed, and there is nothing to average.",
    "masks": "Neither the defense nor the codec leaves values out, so that there is no mask to see.",
    "lengths": "With the codec {codec}, every message has the same length.",
}
"""Why an attack does not apply."""


@dataclass(frozen=True)
class Subject:
    """What is attacked.

    Attributes:
        split: The split folder.
        defense: Its defense.
        codec: Name of the codec.
        n_releases: Releases of each input that are observed.
        foreign: Whether all that is at hand is the file of a head.
        kind: The kind of the inputs, as in `cutlayer.data.modality`.
    """

    split: SplitFolder
    defense: Defense
    codec: str
    n_releases: int
    foreign: bool
    kind: str = "image"

    @property
    def granted(self) -> Access:
        """The most access that can be had."""
        return Access.WHITE_BOX if self.split.has_halves else Access.BLACK_BOX

    @property
    def packed(self) -> bool:
        """Whether messages differ in length."""
        return "+" in self.codec

    def lacks(self, rung: Rung) -> str:
        """The key of `LACKS` that keeps an attack from being applied; empty where nothing does."""
        there = {
            "draws": self.defense.random,
            "masks": any(part.sends_zeros for part in self.defense.parts)
            or any(CODECS.load(part.name).sends_zeros for part in codec_parts(self.codec)),
            "lengths": self.packed,
        }
        if rung.lacks and not there[rung.lacks]:
            return rung.lacks
        return "several" if rung.waits and self.n_releases == 1 else ""

    @property
    def without_halves(self) -> str:
        """Why nobody can be granted the head's weights, or the tail's, as a sentence."""
        if self.foreign:
            return (
                "All that is at hand is a foreign ONNX file of the head: ONNX Runtime answers queries and computes no "
                "gradients, and there is no tail."
            )
        return (
            "The split has no halves in torch, so that nothing can be computed backwards: it was cut from an ONNX file "
            "or from a module of another program, or its head computes in int8."
        )


def ladder(subject: Subject, watch_lists: Sequence[Named]) -> Iterator[Named | NotTried]:
    """The attacks on this kind of inputs in their order, and those that do not apply with the reason.

    Args:
        subject: What is attacked.
        watch_lists: The watch lists that are played in the place of the one of the registry.
    """
    known = {rung.name for rung in LADDER}
    for rung in (*LADDER, *(Rung(name, {}) for name in ATTACKS if name not in known)):
        if any(subject.kind not in part.rebuilds for part in ATTACKS.make(rung.name, **rung.options).parts):
            continue
        if rung.name == OF_IMAGES and subject.kind != "image":  # each kind has one floor
            continue
        options = Options(rung.options)
        if rung.waits:
            options["n_releases"] = subject.n_releases
        named = _without_defaults(rung.name, options)
        chosen = ATTACKS.make(named.name, **named.options)
        if lacking := subject.lacks(rung):
            yield _not_tried(
                Named(rung.name, Options(rung.options)),
                chosen,
                DOES_NOT_APPLY,
                LACKS[lacking].format(codec=subject.codec),
            )
        elif chosen.needs > subject.granted or (named.name == "query-free" and not subject.split.has_halves):
            yield _not_tried(named, chosen, NO_ACCESS, subject.without_halves)
        elif rung.name == LISTED:
            yield from watch_lists
        else:
            yield named


def _without_defaults(name: str, options: Options) -> Named:
    """An attack of which only the options are stated that are not the default, as in a plan."""
    accepted = ATTACKS.options(name)
    return Named(name, {key: value for key, value in options.items() if value != accepted[key].default})


def _not_tried(named: Named, attack: Attack, why: str, reason: str) -> NotTried:
    return NotTried(ATTACKS.label(named.name), named.label, attack.needs.name, why, reason)


@dataclass
class Purse:
    """The time of an audit, from its begin on.

    Attributes:
        seconds: All of it.
        begin_s: When it began, by `time.perf_counter`.
    """

    seconds: float
    begin_s: float

    @property
    def spent_s(self) -> float:
        """Seconds since the begin."""
        return time.perf_counter() - self.begin_s

    @property
    def left_s(self) -> float:
        """Seconds that attacks may still take; what is kept for the page is not among them."""
        return (1 - RESERVE) * self.seconds - self.spent_s


def afforded(
    named: Named,
    seen: View,
    observed: Tensor,
    among: Tensor,
    purse: Purse,
    ran: Mapping[str, Named],
    too_dear: Container[str] = (),
) -> Named | NotTried:
    """The attack with as many steps as the time allows, or the reason why it does not run.

    An attack of `AT_ONCE` runs while there is time. Others are rehearsed; those without steps run in full or not.

    Args:
        named: The attack.
        seen: All that it may touch. What other attacks have fitted there is not fitted again.
        observed: What was observed, ``(n_releases, N, *smashed.shape)``.
        among: The candidates of an attack that identifies.
        purse: The time.
        ran: The attacks that ran with their defaults or fewer steps, by name; see `_agreeing`.
        too_dear: Names of those for which the time did not suffice.
    """
    named_whole = _agreeing(named, ran)
    attack = ATTACKS.make(named_whole.name, **named_whole.options)
    if purse.left_s <= 0:
        return _not_tried(named, attack, BUDGET, f"The budget of {words(purse.seconds)} was spent.")
    if steps(named) is None and named.name in AT_ONCE:
        return named_whole
    if dear := [name for name in _inner_names(attack) if name in too_dear]:
        return _not_tried(named, attack, BUDGET, f"It begins with {dear[0]}, for which the time did not suffice.")
    with rehearsed(most_s=REHEARSED_S) as clock:
        whole_s = attacked_s(attack, seen.aside(), observed[: attack.n_releases], among, clock)
    left_s = max(0.0, purse.left_s)
    # An attack without steps of its own makes those of its inner attacks, which are settled where these ran.
    inner_ran = any(name in ran for name in _inner_names(attack))
    settled = steps(named) is None or (attack.steps is None and inner_ran)
    possible = [share for share in SHARES if share == 1 or (not settled and sound(shorter(named, share)))]
    for share in possible:
        if share * whole_s <= MOST * left_s:
            return named_whole if share == 1 else _agreeing(shorter(named, share), ran)
    fewest = "With the fewest steps that make sense it" if possible[1:] else "It"
    return _not_tried(
        named, attack, BUDGET,
        f"{fewest} would take about {words(possible[-1] * whole_s)}, and {words(left_s)} of the budget were left, of "
        "which one attack gets half.",
    )  # fmt: skip


def on_what_ran(named: Named, ran: Mapping[str, Named], too_dear: Container[str]) -> Named:
    """An attack that begins with one for which the time did not suffice, begun with `INSTEAD` where that ran."""
    attack = ATTACKS.make(named.name, **named.options)
    if isinstance(attack, Wrapping) and attack.attack in too_dear and INSTEAD in ran:
        return _without_defaults(named.name, {**named.options, "attack": INSTEAD})
    return named


def _agreeing(named: Named, ran: Mapping[str, Named]) -> Named:
    """An attack whose inner attacks are those that ran, with as many steps, so that they are not fitted again."""
    attack = ATTACKS.make(named.name, **named.options)
    inner = [ran[name] for name in _inner_names(attack) if name in ran]
    if not inner:
        return named
    options = Options(named.options)
    if isinstance(attack, Combined):
        entries = [entry["name"] for entry in attack.attacks]
        options["attacks"] = tuple({"name": name, **(ran[name].options if name in ran else {})} for name in entries)
    else:
        options["options"] = dict(inner[0].options) or None
    fewer = [of.label for of in inner if of.title]
    title = f"{named.label} ({', '.join(fewer)})" if fewer else named.title
    return replace(_without_defaults(named.name, options), title=title)


def _inner_names(attack: Attack) -> list[str]:
    """The names of the attacks that an attack begins with."""
    if isinstance(attack, Combined):
        return [entry["name"] for entry in attack.attacks]
    return [attack.attack] if isinstance(attack, Wrapping) else []
