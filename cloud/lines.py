"""The connections of a server and the peers to which they belong, with what each has used and holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False, slots=True)
class Party:
    """What the connections of one peer have used together.

    Attributes:
        key: Its identity.
        used_s: Tail time that it has used, in seconds; more if it was away.
        level_s: What the connection that was served last had used.
        held_bytes: Bytes of its unanswered requests.
        lines: Its connections.
        waiting: Those with requests that wait.
    """

    key: Hashable
    used_s: float
    level_s: float = 0.0
    held_bytes: int = 0
    lines: dict[Hashable, Line] = field(default_factory=dict)
    waiting: dict[Hashable, Line] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Line:
    """What one connection has used, and its requests that wait; see `Party`.

    Attributes:
        n_samples: Samples of its last request.
        seen_s: Time of its last request, or of its last slice.
    """

    key: Hashable
    party: Party
    used_s: float
    n_samples: int = 0
    seen_s: float = 0.0
    jobs: deque[Any] = field(default_factory=deque)
