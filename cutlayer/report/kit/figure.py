"""A drawing that can be taken out of the page: named for screen readers, with a button that saves it as SVG."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from cutlayer.report.kit.markup import Html, el

POINT_AT = "Point at a mark, touch it, or go through them with Tab and the arrow keys: this line says what each one is."


@dataclass(frozen=True)
class Name:
    """What a figure is called.

    Attributes:
        id: Identifier, unique on the page.
        file: Name of the file that its button saves, without the suffix.
        title: Title, read out first.
        described: What the figure shows, in words, for those who do not see it.
    """

    id: str
    file: str
    title: str
    described: str


Drawing = tuple[float, float, object, str]
"""Width and height in user units, parts from back to front, and further classes: ``wide-screen`` or ``narrow-screen``
where one figure has a drawing for each; the button saves the wide one."""


def figure(name: Name, drawings: Sequence[Drawing], *, marks: bool = False, made: str = "") -> Html:
    """A figure with its title, the line that tells its marks, and its button.

    Args:
        name: Names of the figure.
        drawings: One drawing, or one for each width of screen.
        marks: Whether it holds elements of `mark`, which are reached with the keyboard and told in the caption.
        made: Command behind the figure, which the saved file repeats.
    """
    drawn = []
    for number, (width, height, parts, class_) in enumerate(drawings):
        id = f"{name.id}-{number}"
        labels = el("title", name.title, id=f"{id}-t"), el("desc", name.described, id=f"{id}-d")
        # The marks of a picture would be hidden from screen readers.
        role = "group" if marks else "img"
        box, classes = f"0 0 {width:.0f} {height:.0f}", f"chart {class_}".strip()
        content = labels, el("metadata", made) if made else None, parts
        drawn.append(el("svg", content, viewBox=box, class_=classes, role=role, aria_labelledby=f"{id}-t {id}-d"))
    told = el("p", POINT_AT, class_="told", aria_live="polite") if marks else None
    file, label = f"{file_name(name.file)}.svg", f"Save as SVG: {name.title}"
    save = el("button", "Save as SVG", type="button", class_="save", data_file=file, aria_label=label, hidden=True)
    return el("figure", el("figcaption", name.title), drawn, told, save, class_="drawn", id=name.id)


def mark(href: str, told: str, parts: Iterable[object], class_: str, *, first: bool) -> Html:
    """One mark of a figure: a link to what it stands for, which says what it is.

    Args:
        href: Place on the page.
        told: What the mark is, in words.
        parts: Its drawing.
        class_: Classes of the style sheet.
        first: Whether Tab leads to this mark; the arrow keys lead to the others.
    """
    return el("a", parts, href=href, class_=f"mark {class_}", aria_label=told, tabindex=0 if first else -1)


def script() -> Html:
    """The program of the figures: captions, arrow keys, and the saving as SVG in the colors of light paper."""
    kit = files("cutlayer.report.kit")
    program = (kit / "figure.js").read_text(encoding="utf-8")
    return Html(program.replace('"STYLE"', json.dumps(light((kit / "figures.css").read_text(encoding="utf-8")))))


def light(style: str) -> str:
    """A style sheet with the values of the light colors in place of their names, for programs without variables."""
    sheet = (files("cutlayer.report.kit") / "style.css").read_text(encoding="utf-8")
    colors = dict(re.findall(r"(--[\w-]+): ([^;]+);", sheet[: sheet.index("@media")]))
    return re.sub(r"var\((--[\w-]+)\)", lambda found: colors[found[1]], style)


def file_name(text: str) -> str:
    """A text as the name of a file: letters, digits, points, dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "figure"
