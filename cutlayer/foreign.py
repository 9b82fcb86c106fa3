"""Text that comes from others, in a form that can steer no terminal, log, page or table.

From others comes what a peer sends, what stands in a file that somebody else made, the names of files and folders, and
the messages of libraries that quote any of these.
"""

from __future__ import annotations

from unicodedata import category

MOST = 200
"""Letters of a foreign text that are shown, unless more are asked for: enough for a name and for most sentences."""

MOST_CELL = 1000
"""Letters of a cell of a table: the longest names of tensors, to be copied, are of a few hundred."""

_CUT = "..."

# Also the wide forms of the four signs. A tab or carriage return, which begins a formula too, is escaped.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")

# Controls, formats (marks of direction and of zero width among them), lone surrogates, letters for private use and
# unassigned ones, separators of lines and of paragraphs.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks of other categories that take no ink (Unicode Standard, Default_Ignorable_Code_Point), and the blank
# of Braille. Of the selectors of variants, the first sixteen stay: they belong to emoji.
_BLANK = frozenset(map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164)))
_BLANK |= frozenset(map(chr, (0xFFA0, *range(0xE0100, 0xE01F0))))


def shown(text: object, most: int | None = MOST) -> str:
    r"""One line that shows a foreign text: what is invisible or steers a terminal is escaped as in Python.

    Line breaks, tabs, escape sequences, marks of direction and of zero width, and the bytes of an undecodable file name
    become `\n`, `\x1b`, `\u202e` and the like. Other letters of any script stay as they are. A text that has been shown
    stays the same when it is shown again, so a backslash is not escaped.

    Args:
        text: The text, or what has one as `str` gives it, such as an exception.
        most: Length of the result at most; a longer one ends in "...". None is no limit.

    >>> shown("café \x1b[2J\n\u202egnp.exe")
    'café \\x1b[2J\\n\\u202egnp.exe'
    >>> shown("a name of a hundred letters", most=9)
    'a name...'
    """
    whole = str(text)
    # Each letter becomes at least one, so what is behind the limit is never looked at.
    part = whole if most is None else whole[: most + 1]
    letters = part if part.isascii() and part.isprintable() else [_shown(letter) for letter in part]
    if most is None or sum(map(len, letters)) <= most:
        return "".join(letters)
    kept, length = [], 0
    for letter in letters:
        length += len(letter)
        if length > most - len(_CUT):
            break
        kept.append(letter)
    return "".join(kept) + _CUT[: max(most, 0)]


def shown_lines(text: object) -> str:
    """A text of several lines of which each one is shown in full: the last check of what goes to a terminal or log."""
    return "\n".join(shown(line, most=None) for line in str(text).split("\n"))


def cell(value: object) -> object:
    """A value for a cell of a CSV file: a number as it is, a text so that no program computes it.

    A text that begins like a formula gets an apostrophe in front, by which spreadsheets mark what is only text; readers
    of other programs see the apostrophe. A text that is a number stays as it is.

    >>> [cell(text) for text in ("=1+1", "-0.5", "features.3", 2.5)]
    ["'=1+1", '-0.5', 'features.3', 2.5]
    """
    if not isinstance(value, str):
        return value
    text = shown(value, MOST_CELL)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(letter: str) -> str:
    if category(letter) in _ESCAPED or letter in _BLANK:
        return letter.encode("unicode_escape").decode("ascii")
    return letter
