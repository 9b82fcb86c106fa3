"""HTML and SVG elements as functions that escape by default, so that no record can put markup into the page."""

from collections.abc import Iterable
from html import escape
from importlib.resources import files

# The second defense after escaping: markup that slipped through can load nothing and run nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_VOID = {"br", "col", "img", "meta"}


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def page(title: str, main: Html, extra_style: str = "") -> str:
    """A whole page that needs nothing but itself.

    Args:
        title: Title of the window.
        main: The `main` element.
        extra_style: Rules that follow those of the style sheet.
    """
    style = (files("cutlayer.report.kit") / "style.css").read_text(encoding="utf-8") + extra_style
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", Html(style)),
    )
    return "<!doctype html>\n" + el("html", head, el("body", main), lang="en") + "\n"


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
    return escape(str(child))


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{escape(str(value))}"'
