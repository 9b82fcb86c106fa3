"""What a failed request means: the one table by status code, for both transports, the retry policy and the queue.

The codes are gRPC's. An intermediary makes some of them itself: the status of an HTTP answer becomes `INTERNAL` (400),
`UNAUTHENTICATED` (401), `PERMISSION_DENIED` (403), `UNIMPLEMENTED` (404), `UNAVAILABLE` (429, 502 to 504) or `UNKNOWN`
(any other). So only codes that no intermediary gives, and that blame the request alone, are refusals for good.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from cutlayer.errors import (
    ConnectionLost,
    DeadlineExceeded,
    DecodeError,
    Refused,
    StreamReset,
    Unreachable,
    WireError,
)


class Then(Enum):
    """What becomes of a request on disk that was sent in vain."""

    REFUSED = "refused for good: it leaves the queue, and is kept with the reason"
    FAILED = "waits; the others are sent first, and it is set aside once it alone has failed several times"
    AWAY = "waits until the server is found again"


class Outcome(NamedTuple):
    """What follows from an error.

    Attributes:
        again: Whether the client sends the request again by itself, within its deadline, over a new stream.
        then: What a queue on disk does if that does not help.
    """

    again: bool
    then: Then


CODES = {
    "INVALID_ARGUMENT": Outcome(False, Then.REFUSED),
    "NOT_FOUND": Outcome(False, Then.REFUSED),
    "ALREADY_EXISTS": Outcome(False, Then.REFUSED),
    "OUT_OF_RANGE": Outcome(False, Then.REFUSED),
    "INTERNAL": Outcome(False, Then.FAILED),
    "UNKNOWN": Outcome(False, Then.FAILED),
    "DATA_LOSS": Outcome(False, Then.FAILED),
    "RESOURCE_EXHAUSTED": Outcome(False, Then.FAILED),
    "ABORTED": Outcome(True, Then.FAILED),
    "CANCELLED": Outcome(True, Then.AWAY),
    "UNAVAILABLE": Outcome(True, Then.AWAY),
    "DEADLINE_EXCEEDED": Outcome(False, Then.AWAY),
    "UNAUTHENTICATED": Outcome(False, Then.AWAY),
    "PERMISSION_DENIED": Outcome(False, Then.AWAY),
    "UNIMPLEMENTED": Outcome(False, Then.AWAY),
    "FAILED_PRECONDITION": Outcome(False, Then.AWAY),
}
"""What follows from each code of a `Refused`. A code that is not here counts as `UNKNOWN`."""

LATER = Outcome(True, Then.AWAY)
"""What follows from any code that comes with a time after which to try again."""

WITHOUT_CODE: dict[type[WireError], Outcome] = {
    StreamReset: Outcome(True, Then.FAILED),
    ConnectionLost: Outcome(True, Then.AWAY),
    Unreachable: Outcome(False, Then.AWAY),
    DeadlineExceeded: Outcome(False, Then.AWAY),
    DecodeError: Outcome(False, Then.FAILED),
    WireError: Outcome(False, Then.FAILED),
}
"""What follows from each kind of error without a code; the most special ones come first."""


def outcome(error: WireError) -> Outcome:
    """Return what follows from an error of a transport."""
    if isinstance(error, Refused):
        return LATER if error.retry_after_ms else CODES.get(error.code, CODES["UNKNOWN"])
    return next(found for kind, found in WITHOUT_CODE.items() if isinstance(error, kind))
