"""HTML and SVG elements as functions that escape by default, so that no record can put markup into the page."""

from collections.abc import Iterable
from html import escape

# A second lock on the door: even markup that slipped through could load nothing and run nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_VOID = {"br", "col", "img", "meta"}


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def el(name: str, /, *children: object, **attributes: object) -> Html:
    """One element.

    Args:
        name: Of the element.
        children: `Html` as it is, None as nothing, lists flattened, anything else as escaped text.
        attributes: `class_` gives `class`, `aria_label` gives `aria-label`; None and False are left out, True is bare.
    """
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    return Html(f"<{opening}>" if name in _VOID else f"<{opening}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Elements and texts one after the other."""
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
