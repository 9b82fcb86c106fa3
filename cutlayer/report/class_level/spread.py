"""The table of how an attack's pictures lie among real ones of their class."""

from __future__ import annotations

from cutlayer.report.class_level.groups import Cell, Group
from cutlayer.report.kit.markup import Html, el, note, row, small, table
from cutlayer.report.kit.wording import DASH, Scale

MEASURES = {
    "kid": Scale("KID", "", 3),
    "precision": Scale("Precision", "", 2),
    "recall": Scale("Recall", "", 2),
    "density": Scale("Density", "", 2),
    "coverage": Scale("Coverage", "", 2),
}


def spread(group: Group) -> Html | None:
    """Every attack on the first victim, each figure above that of as many real pictures; None where none has any."""
    cells = [cell for cell in group.cells(group.main) if any(cell.metric(name) is not None for name in MEASURES)]
    if not cells:
        return None
    head = ["Attack", *(words.title for words in MEASURES.values())]
    body = [row(cell.first.label, [_figure(cell, name, words) for name, words in MEASURES.items()]) for cell in cells]
    return el(
        "details",
        el("summary", "How the pictures lie among real ones"),
        table("Pictures among real ones", head, [el("tbody", body)], "numbers attacks"),
        note(
            "In the features of the first judge, class by class; below each figure that of as many real pictures. KID: "
            "the distance of the two sets, 0 for sets of one kind. Precision and density: how many pictures lie among "
            "real ones. Recall and coverage: how many real ones have a picture near them."
        ),
    )


def _figure(cell: Cell, name: str, words: Scale) -> Html:
    own, real = cell.metric(name), cell.metric(f"real {name}")
    if own is None:
        return el("td", DASH)
    return el("td", words.number(own.value), small(f"real {words.number(real.value)}") if real is not None else None)
