"""The result of one check."""

from __future__ import annotations

from typing import Literal, NamedTuple

WORTH_KNOWING_DAYS = 30
"""Days before an expiry from which it is reported as a note."""


class Finding(NamedTuple):
    """The result of one check; `str` gives one line, or two with advice.

    Attributes:
        status: ``fault`` if something does not work, ``note`` if something is worth knowing, otherwise ``ok``.
        what: Subject of the check.
        says: Result of the check.
        do: Advice; empty if all is well.
    """

    status: Literal["ok", "note", "fault"]
    what: str
    says: str
    do: str = ""

    def __str__(self) -> str:
        return f"{self.status:<6}{self.what:<14}{self.says}" + (f"\n{'':<20}-> {self.do}" if self.do else "")


def ok(what: str, says: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding("ok", what, says)


def note(what: str, says: str, do: str) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding("note", what, says, do)


def fault(what: str, says: str, do: str) -> Finding:
    """Return the finding of a check that failed."""
    return Finding("fault", what, says, do)
