"""HTML and SVG elements as functions that escape by default, so that no record can put markup into the page.

Nor can it turn the direction of the text, or hide in it.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from cutlayer.foreign import shown_lines

# The second defense after escaping: markup that slipped through can load nothing and run nothing but this program.
_POLICY = (
    "default-src 'none'; img-src data:; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'"
)

_VOID = {"br", "col", "img", "meta"}


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def page(title: str, main: Html, extra_style: str = "", script: Html | None = None) -> str:
    """A whole page that needs nothing but itself.

    Args:
        title: Title of the window.
        main: Content.
        extra_style: Rules that follow those of the style sheets.
        script: A program that runs at the end; the policy of the page admits no other one.
    """
    sheets = [
        (files("cutlayer.report.kit") / name).read_text(encoding="utf-8") for name in ("style.css", "figures.css")
    ]
    style = "".join(sheets) + extra_style
    policy = _POLICY.format(style=_hash(style), script=_hash(script) if script else "'none'")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", Html(style)),
    )
    return (
        "<!doctype html>\n"
        + el("html", head, el("body", main, el("script", script) if script else None), lang="en")
        + "\n"
    )


def _hash(text: str) -> str:
    """How a policy names an inline style or program."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def section(title: str, *children: object, id: str | None = None) -> Html:
    """A part of a page with a heading."""
    return el("section", el("h2", title), children, id=id)


def note(text: str) -> Html:
    """A paragraph in small print."""
    return el("p", text, class_="note")


def small(text: str | None) -> Html | None:
    """A second line in a cell; nothing where there is no text."""
    return el("small", text) if text else None


def dot(color: str) -> Html:
    """The mark of one defense, in a color of the style sheet."""
    return el("span", class_=f"dot {color}")


def table(caption: str, head: Sequence[object], body: Sequence[Html], class_: str = "") -> Html:
    """A table that scrolls sideways on its own when the screen is narrow."""
    headings = [h if isinstance(h, Html) else el("th", h, scope="col") for h in head]
    content = el("table", el("caption", caption), el("thead", el("tr", headings)), body, class_=class_ or None)
    return el("div", content, class_="wide", role="region", aria_label=caption, tabindex=0)


def row(heading: object, cells: Iterable[object]) -> Html:
    """A row of a table, from a `th` element or its text, and from `td` elements or their texts."""
    first = heading if isinstance(heading, Html) else el("th", heading, scope="row")
    return el("tr", first, [cell if isinstance(cell, Html) else el("td", cell) for cell in cells])


def el(name: str, /, *children: object, **attributes: object) -> Html:
    """One element.

    Args:
        name: Name of the element.
        children: `Html` is taken as it is, None is nothing, lists are flattened, anything else becomes escaped text.
        attributes: `class_` gives `class`, `aria_label` gives `aria-label`; None and False are left out, True is bare.
    """
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    return Html(f"<{opening}>" if name in _VOID else f"<{opening}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Elements and texts, one after the other."""
    return Html("".join(map(_child, children)))


def _child(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, Iterable) and not isinstance(child, str):
        return join(child)
    return escape(shown_lines(child))


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{escape(shown_lines(value))}"'
