"""Red flags on top of the page: each kind once, with links to the settings where it was raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cutlayer.report.kit.markup import Html, el, note
from cutlayer.report.runs import conditions
from cutlayer.report.runs.groups import Group

OPEN = 3
"""Sentences of one kind that are shown; from more on they are folded away."""
MOST = 60
"""Sentences of one kind at most, and places of one sentence."""

Places = dict[str, str]
"""Names of places by their anchors."""


def raised(groups: Sequence[Group]) -> dict[str, dict[str, Places]]:
    """Every red flag: sentences by kind, and the places of each."""
    found: dict[str, dict[str, Places]] = {}
    for group in groups:
        for flag in conditions.flags(group):
            found.setdefault(flag.flag, {}).setdefault(flag.text, {})[group.anchor] = group.title
        for setting in group.settings:
            for flag in (flag for result in setting.results for flag in result.flags):
                name = f"{setting.label} ({group.title})" if len(groups) > 1 else setting.label
                found.setdefault(flag.flag, {}).setdefault(flag.text, {})[setting.anchor] = name
    return found


def on_top(groups: Sequence[Group], unfinished: Html | None) -> Html:
    """The part of the page about red flags, and about trials that failed or are unfinished."""
    found = raised(groups)
    if not found:
        return el("div", el("p", "No red flag was raised.", class_="note"), unfinished, id="flags")
    count = sum(len(places) for texts in found.values() for places in texts.values())
    explained = (
        "A red flag says that the evaluation itself is suspect, so that its figures may flatter or wrong a defense."
    )
    items = [_kind(kind, texts) for kind, texts in sorted(found.items())]
    heading = el("h2", f"Red flags: {count:,}")
    return el(
        "section", heading, note(explained), unfinished, el("ul", items, class_="flags"), class_="warnings", id="flags"
    )


def _kind(kind: str, texts: Mapping[str, Places]) -> Html:
    places = len({anchor for of_text in texts.values() for anchor in of_text})
    sentences = [el("p", text, _linked(of_text)) for text, of_text in list(texts.items())[:MOST]]
    if len(texts) > MOST:
        sentences.append(note(f"{len(texts) - MOST:,} more sentences of this kind are in the records."))
    if len(texts) <= OPEN:
        return el("li", el("b", kind), sentences)
    many = f"{kind}: {len(texts):,} sentences at {places:,} places"
    return el("li", el("details", el("summary", many), sentences))


def _linked(places: Places) -> list[object]:
    links: list[object] = [
        el("a", name, href=f"#{anchor}", class_="where") for anchor, name in list(places.items())[:MOST]
    ]
    more = len(places) - MOST
    return links + ([el("span", f"and {more:,} more", class_="where")] if more > 0 else [])
