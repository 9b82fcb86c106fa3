"""What one check found."""

from __future__ import annotations

from typing import Literal, NamedTuple

WORTH_KNOWING_DAYS = 30
"""Before something expires."""


class Finding(NamedTuple):
    """One line of the doctor's, or two.

    Attributes:
        status: A fault hinders; a note is worth knowing.
        what: Was looked at.
        says: What is so.
        do: What to do about it; empty where all is well.
    """

    status: Literal["ok", "note", "fault"]
    what: str
    says: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.status:<6}{self.what:<14}{self.says}" + (f"\n{'':<20}-> {self.do}" if self.do else "")


def ok(what: str, says: str) -> Finding:
    """All is well."""
    return Finding("ok", what, says)


def note(what: str, says: str, do: str) -> Finding:
    """Worth knowing."""
    return Finding("note", what, says, do)


def fault(what: str, says: str, do: str) -> Finding:
    """Something that hinders."""
    return Finding("fault", what, says, do)
