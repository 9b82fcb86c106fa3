"""The policy of a device without a server, and the counts of its requests."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal

from cutlayer.errors import ConfigError

Policy = Literal["local", "queue", "drop"]

WAIT_S = 1.0


@dataclass(frozen=True)
class OfflinePolicy:
    """What a device does with requests while its server is away; see `cutlayer.edge.offline.replay`.

    Attributes:
        do: Name of the policy.
        queue: Folder of the queue, for the policy queue, as are the fields below.
        most_bytes: Limit of the queue's size in bytes.
        drop_oldest: Whether a full queue drops its oldest requests; otherwise the run ends.
        wait_s: Longest time in seconds that a request waits for the server, for every policy.

    Raises:
        ConfigError: `wait_s` is not above 0.
    """

    do: Policy
    queue: Path = Path("queue")
    most_bytes: int = 256 << 20
    drop_oldest: bool = False
    wait_s: float = WAIT_S

    def __post_init__(self) -> None:
        if not 0 < self.wait_s < inf:
            raise ConfigError(f"--wait-s must be a number of seconds above 0; {self.wait_s:g} was given.")


@dataclass
class OfflineCounts:
    """Counts of the requests that the server did not answer at once; `str` gives a line.

    Attributes:
        local: Requests answered on the device.
        queued: Requests that stayed in the queue when they were made.
        replayed: Requests sent from the queue and answered.
        refused: Requests of the queue that were refused for good.
        failed: Requests of the queue that failed again and again, while others were answered.
        dropped: Requests given up by the policy, or dropped from a full queue.
        n_late: Test images of this run that were answered on the device or from the queue.
        n_correct: Number of correct answers among `n_late`.
        waiting: Requests still in the queue.
        where: Folder of the queue.
        aside: Folder of the queue of those that were refused or failed.
        why: What was wrong at last, with the server or with a request that waits; empty if nothing.
        why_aside: Why the last request was refused or failed.
    """

    local: int = 0
    queued: int = 0
    replayed: int = 0
    refused: int = 0
    failed: int = 0
    dropped: int = 0
    n_late: int = 0
    n_correct: int = 0
    waiting: int = 0
    where: Path | None = None
    aside: Path | None = None
    why: str = ""
    why_aside: str = ""

    def __str__(self) -> str:
        counts = {name: getattr(self, name) for name in ("local", "queued", "replayed", "refused", "failed", "dropped")}
        line = "while the server was away: " + (
            ", ".join(f"{n:,} {name}" for name, n in counts.items() if n) or "nothing"
        )
        if self.n_late:
            line += f"; {self.n_correct / self.n_late:.1%} of {self.n_late:,} test inputs right"
        if self.waiting:
            line += f"\n{self.waiting:,} requests wait in {self.where}; the next run sends them first"
            line += f" ({self.why})" if self.why else ""
        if self.refused or self.failed:
            line += (
                f"\nset aside in {self.aside}: {self.refused + self.failed:,}, the last because of {self.why_aside} "
                f"To send what is there: --queue {self.aside} --count 0"
            )
        return line
