"""The result of one check."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import Literal, NamedTuple

from cutlayer.errors import MOST
from cutlayer.foreign import shown
from cutlayer.terminal import tell, tell_lines

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
        says, do = (shown(text, most=MOST) for text in (self.says, self.do))
        return f"{self.status:<6}{self.what:<14}{says}" + (f"\n{'':<20}-> {do}" if do else "")


ok, note, fault = partial(Finding, "ok"), partial(Finding, "note"), partial(Finding, "fault")


def tell_findings(findings: Iterable[Finding]) -> None:
    """Print findings as they come, and their number; end with exit code 1 if there is a fault."""
    statuses = []
    for finding in findings:
        tell_lines(finding)
        statuses.append(finding.status)
    tell(f"faults: {statuses.count('fault')}, notes: {statuses.count('note')}")
    if "fault" in statuses:
        sys.exit(1)
