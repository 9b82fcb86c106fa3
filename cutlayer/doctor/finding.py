"""The result of one check."""

from __future__ import annotations

from functools import partial
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


ok, note, fault = partial(Finding, "ok"), partial(Finding, "note"), partial(Finding, "fault")
