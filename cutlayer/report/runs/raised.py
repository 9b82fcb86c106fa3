"""Red flags on top of the page: each kind once, with links to the settings where it was raised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cutlayer.records.run import Flag
from cutlayer.report.kit.markup import Html, el, note
from cutlayer.report.runs import conditions
from cutlayer.report.runs.groups import Group

OPEN = 3
"""Sentences of one kind that are shown; from more on they are folded away."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
MOST = 40
"""Sentences of one kind at most, and places of one sentence."""

Places = dict[str, str]
"""Names of places by their anchors."""


@dataclass
class Alike:
    """Sentences that differ in their numbers alone.

    Attributes:
        text: The first of them.
        others: The others.
        places: Where any of them was raised.
    """

    text: str
    others: set[str] = field(default_factory=set)
    places: Places = field(default_factory=dict)


def raised(groups: Sequence[Group]) -> dict[str, list[Alike]]:
    """Every red flag by its kind."""
    found: dict[str, dict[str, Alike]] = {}

    def add(flag: Flag, anchor: str, name: str) -> None:
        alike = found.setdefault(flag.flag, {}).setdefault(_NUMBER.sub("#", flag.text), Alike(flag.text))
        alike.others |= {flag.text} - {alike.text}
        alike.places[anchor] = name

    for group in groups:
        for flag in conditions.flags(group):
            add(flag, group.anchor, group.title)
        for setting in group.settings:
            name = f"{setting.label} ({group.title})" if len(groups) > 1 else setting.label
            for flag in (flag for result in setting.results for flag in result.flags):
                add(flag, setting.anchor, name)
    return {kind: [*alike.values()] for kind, alike in found.items()}


def on_top(groups: Sequence[Group], missing: Html | None, left_out: str) -> Html:
    """The part of the page about red flags, about trials without a result, and about what the page leaves out."""
    found = raised(groups)
    also = [missing, note(left_out) if left_out else None]
    if not found:
        return el("div", el("p", "No red flag was raised.", class_="note"), also, id="flags")
    count = sum(len(alike.places) for sentences in found.values() for alike in sentences)
    explained = (
        "A red flag says that the evaluation itself is suspect, so that its figures may flatter or wrong a defense."
    )
    items = [el("li", _kind(kind, sentences)) for kind, sentences in sorted(found.items())]
    heading = el("h2", f"Red flags: {count:,}")
    return el("section", heading, note(explained), also, el("ul", items, class_="flags"), class_="warnings", id="flags")


def _kind(kind: str, sentences: Sequence[Alike]) -> list[Html]:
    told = [el("p", alike.text, _more(alike), _linked(alike.places)) for alike in sentences[:MOST]]
    if len(sentences) > MOST:
        told.append(note(f"{len(sentences) - MOST:,} more sentences of this kind are in the records."))
    if len(sentences) <= OPEN:
        return [el("b", kind), *told]
    places = len({anchor for alike in sentences for anchor in alike.places})
    return [el("details", el("summary", f"{kind}: {len(sentences):,} sentences at {places:,} places"), told)]


def _more(alike: Alike) -> str:
    n = len(alike.others)
    return f" And {'once' if n == 1 else f'{n:,} times'} more with other figures." if n else ""


def _linked(places: Places) -> list[object]:
    links: list[object] = [
        el("a", name, href=f"#{anchor}", class_="where") for anchor, name in list(places.items())[:MOST]
    ]
    more = len(places) - MOST
    return links + ([el("span", f"and {more:,} more", class_="where")] if more > 0 else [])
