"""What a claim expects of the figures, as a plan writes it: "leakage of noise 2.0 < leakage of none".

A side is a number, ``FIGURE of DEFENSE`` or ``FIGURE of DEFENSE by ATTACK``. A figure is ``accuracy``, ``leakage`` (the
leakage gain), ``identified`` (the share of inputs that are picked from all candidates) or the name of a metric. Where
answers are vectors, ``cosine`` and ``same-nearest`` stand in the place of ``accuracy``. Without an attack it is that of
the worst one: for ``identified`` the one that identifies most, by a watch list or in pixels, otherwise the one that
leaks most. Accuracy, leakage and what is identified are shares: 0.5 is 50 %.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from cutlayer.errors import ConfigError, near

ACCURACY, LEAKAGE, IDENTIFIED = "accuracy", "leakage", "identified"
COSINE, SAME_NEAREST = "cosine", "same-nearest"
"""How near vectors stay to those of the undefended model, see `cutlayer.records.run.Vectors`."""
_INEQUALITY = re.compile(r"(?P<left>.+) (?P<sign>[<>]) (?P<right>.+)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SIDE = re.compile(r"([a-z][\w-]*) of (.+?)(?: by (.+))?")


class Figure(NamedTuple):
    """A figure of a defense; `attack` is empty for the worst one."""

    name: str
    defense: str
    attack: str


class Expectation(NamedTuple):
    """An inequality of two figures, or of a figure and a number."""

    left: Figure
    less: bool
    right: Figure | float


def parse(text: str) -> Expectation:
    """Read an expectation.

    Raises:
        ConfigError: It is not of this form.
    """
    match = _INEQUALITY.fullmatch(text.strip())
    left, right = (_SIDE.fullmatch(match[side]) if match else None for side in ("left", "right"))
    if match is None or left is None or not (right or _NUMBER.fullmatch(match["right"])):
        raise ConfigError(
            f"expect takes inequalities such as 'leakage of noise 2.0 < leakage of none', 'leakage of noise 2.0 by "
            f"white-box > 0.5' or 'accuracy of none > 0.8'; {text!r} was given."
        )
    return Expectation(_figure(left), match["sign"] == "<", _figure(right) if right else float(match["right"]))


def figures(texts: Iterable[str]) -> set[str]:
    """The names of all figures in some expectations."""
    sides = [side for text in texts for side in (parse(text).left, parse(text).right)]
    return {side.name for side in sides if isinstance(side, Figure)}


def check(text: str, defenses: Collection[str], attacks: Collection[str], metrics: Collection[str]) -> None:
    """Refuse an expectation of figures that a plan will not have.

    Where no defenses are given, any name of a defense is accepted.

    Raises:
        ConfigError: It has another form, or names an unknown figure, defense or attack; the message lists
            the known ones.
    """
    expected, figures = parse(text), (ACCURACY, COSINE, SAME_NEAREST, LEAKAGE, IDENTIFIED, *metrics)
    for side in (expected.left, expected.right):
        if isinstance(side, Figure):
            for kind, name, known in (
                ("figure", side.name, figures),
                ("defense", side.defense, defenses),
                ("attack", side.attack, ("", *attacks)),
            ):
                if known and name not in known:
                    names = sorted(filter(None, known))
                    listed = f" The {kind}s that this plan has: {', '.join(names)}." if names else ""
                    hint = "" if (close := near(name, names)).startswith("known: ") else f"; {close}"
                    raise ConfigError(f"expect names the {kind} {name!r} in {text!r}{hint or '.'}{listed}")


def _figure(match: re.Match[str]) -> Figure:
    return Figure(match[1], match[2], match[3] or "")
