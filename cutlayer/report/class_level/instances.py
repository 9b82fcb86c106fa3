"""The part of the report on single inputs that were rebuilt from the answers to them."""

from __future__ import annotations

from cutlayer.report.class_level.groups import Cell, Group, Who, who_text
from cutlayer.report.class_level.story import pictures
from cutlayer.report.class_level.terminal import OVER
from cutlayer.report.kit.markup import Html, el, note, row, section, small, table
from cutlayer.report.kit.pictures import beside, strip
from cutlayer.report.kit.wording import DASH, Scale, defense_name, scale, seconds

METRICS = ("psnr", "ssim", "identification", "recognized")


def rebuilt(group: Group) -> Html | None:
    """Every such attack on every victim, and the pictures of those on the first; None where there is none."""
    rows = [_row(who, cell) for who in group.victims for cell in group.rebuilding(who)]
    if not rows:
        return None
    head = ["Attack", "Victim", OVER.title, *(scale(name).heading for name in METRICS), "Questions", "Time"]
    return section(
        "Single inputs rebuilt from the answers to them",
        table("Attacks on answers", head, [el("tbody", rows)], "numbers attacks"),
        note(
            "The attacker has seen the model's answer to an input, and no part of the input. An answer names the class "
            "in any case, so that the floor is the mean of the attacker's samples that get this answer: below 1, the "
            "answer told more than the class."
        ),
        [_pictures(group, cell) for cell in group.rebuilding(group.main)],
    )


def _row(who: Who, cell: Cell) -> Html:
    over = cell.metric("over floor")
    cells: list[object] = [
        el("td", defense_name(who[1]), small(f"{who[0]} epochs")),
        el("td", OVER.value(over.value), small(OVER.interval(over) or None)) if over else DASH,
        *(_value(cell, name, scale(name)) for name in METRICS),
        f"{cell.first.asked:,}",
        seconds(cell.seconds),
    ]
    return row(cell.first.label, cells)


def _value(cell: Cell, name: str, words: Scale) -> str:
    found = cell.metric(name)
    return DASH if found is None else words.value(found.value)


def _pictures(group: Group, cell: Cell) -> list[Html]:
    kept, label = pictures(group, cell), cell.first.label
    titles = {
        "private": ("the inputs", who_text(group.main)),
        "rebuilt": ("rebuilt", label),
        "auxiliary": ("the floor", "the mean of the answered class"),
    }
    return [
        beside(title, below, strip(kept[name], range(len(kept[name])), f"{title}: {label}"))
        for name, (title, below) in titles.items()
        if name in kept
    ]
