"""Tables and paragraphs for a terminal: plain text that no record can steer."""

from __future__ import annotations

import textwrap
from collections.abc import Container, Sequence
from itertools import takewhile

from cutlayer.foreign import MOST_CELL, shown
from cutlayer.report.kit.wording import DASH, MINUS, SPACE

WIDTH = 120
LEAST = 4
"""Letters of the beginning of a cell that is shortened, at least."""
_ASCII = str.maketrans({DASH: "-", MINUS: "-", SPACE: " ", "µ": "u"})


def columns(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Container[int] = (0,),
    width: int | None = None,
    rule: bool = False,
) -> str:
    """A table with columns as wide as their widest cell.

    Args:
        head: Titles of the columns.
        rows: Cells, as many in each row as there are titles.
        left: Columns that are aligned to the left; all other columns are aligned to the right.
        width: Width of the table at most: titles of two words that are wider than their cells take two lines, and then
            the widest columns are shortened, see `shorter`. Not limited when None.
        rule: Whether a line is drawn below the titles.
    """
    heads = [["", shown(plain(cell), MOST_CELL)] for cell in head]
    body = [[shown(plain(cell), MOST_CELL) for cell in row] for row in rows]
    gaps = 2 * (len(heads) - 1)
    if width is not None:
        _break(heads, body, width - gaps)
    titles = [list(line) for line in zip(*heads, strict=True) if any(line)]
    lines = [*titles, *body]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    while width is not None and sum(widths) + gaps > width and max(widths) > 6:
        widths[widths.index(max(widths))] -= 1
    shortened = [shorter(column, w) for column, w in zip(zip(*lines, strict=True), widths, strict=True)]
    printed = []
    for line in lines:
        cells = [texts[cell] for texts, cell in zip(shortened, line, strict=True)]
        aligned = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        printed.append("  ".join(aligned).rstrip())
    if rule:
        printed.insert(len(titles), "-" * (sum(widths) + gaps))
    return "\n".join(printed)


def _break(heads: list[list[str]], body: Sequence[Sequence[str]], most: int) -> None:
    """Break titles into two lines, the one that saves most first, until the columns have so many letters at most."""
    cells = [max((len(line[i]) for line in body), default=0) for i in range(len(heads))]

    def wide(i: int) -> int:
        return max(cells[i], *map(len, heads[i]))

    while sum(map(wide, range(len(heads)))) > most:
        saved = dict[int, tuple[int, list[str]]]()
        for i, (above, title) in enumerate(heads):
            places = [] if above else [at for at, sign in enumerate(title) if sign == " "]
            broken = [[title[:at], title[at + 1 :]] for at in places]
            if broken:
                narrowest = min(broken, key=lambda two: max(map(len, two)))
                saved[i] = wide(i) - max(cells[i], *map(len, narrowest)), narrowest
        best = max(saved, key=lambda i: saved[i][0], default=None)
        if best is None or not saved[best][0]:
            return
        heads[best] = saved[best][1]


def shorter(cells: Sequence[str], width: int) -> dict[str, str]:
    """Each cell of a column in so many letters; of cells that begin alike, their beginning and what tells them apart.

    Args:
        cells: The texts of the column.
        width: Letters of each at most.
    """
    found = {cell: cell if len(cell) <= width else cell[: width - 2] + ".." for cell in cells}
    alike: dict[str, list[str]] = {}
    for cell, short in found.items():
        if short != cell:
            alike.setdefault(short, []).append(cell)
    for same in (same for same in alike.values() if len(same) > 1):
        first, last = _alike(same), _alike([cell[::-1] for cell in same])
        for cell in same:
            own = cell[first : max(first, len(cell) - last)][: max(0, width - 2 - LEAST)]
            found[cell] = cell[: width - 2 - len(own)] + ".." + own
    return found


def _alike(texts: Sequence[str]) -> int:
    """Return the number of letters with which all begin, up to the last whole word."""
    common = "".join(letters[0] for letters in takewhile(lambda found: len({*found}) == 1, zip(*texts, strict=False)))
    return 1 + max(common.rfind(sign) for sign in " =,")


def wrap(text: str, indent: str = "") -> str:
    """A paragraph of lines of at most `WIDTH` letters, all but the first after an indent."""
    # A number and its unit stay on one line: what joins them is a plain space only afterwards.
    return "\n".join(map(plain, textwrap.wrap(text, WIDTH, subsequent_indent=indent)))


def plain(text: str) -> str:
    """One line with plain signs for numbers, in which what steers a terminal is escaped."""
    return shown(text.translate(_ASCII), most=None)
