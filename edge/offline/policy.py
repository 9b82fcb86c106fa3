"""What a device is to do while its server is gone, and what it did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Policy = Literal["local", "queue", "drop"]


@dataclass(frozen=True)
class WhenOffline:
    """See `edge.offline.replay` for the policies, and `edge.offline.queue.Queue` for the rest.

    Attributes:
        do: The policy.
        queue: Folder of the queue; of the policy queue alone, like what follows.
        most_bytes: Of it.
        drop_oldest: Whether the oldest of a full queue goes; otherwise the run ends.
    """

    do: Policy
    queue: Path = Path("queue")
    most_bytes: int = 256 << 20
    drop_oldest: bool = False


@dataclass
class Absence:
    """What became of the requests that were not answered at once; `str` gives a line.

    Attributes:
        local: Answered here.
        queued: Left in the queue when they were made.
        replayed: Taken from the queue and answered.
        refused: Taken from the queue and refused by the server for good.
        dropped: Given up: by the policy, or the oldest of a full queue.
        n_late, n_correct: Test images of this run answered here or from the queue, and how many of them rightly.
        waiting: Still in the queue.
        where: The queue's folder.
    """

    local: int = 0
    queued: int = 0
    replayed: int = 0
    refused: int = 0
    dropped: int = 0
    n_late: int = 0
    n_correct: int = 0
    waiting: int = 0
    where: Path | None = None

    def __str__(self) -> str:
        counts = {name: getattr(self, name) for name in ("local", "queued", "replayed", "refused", "dropped")}
        line = "while the server was gone: " + (
            ", ".join(f"{n:,} {name}" for name, n in counts.items() if n) or "nothing"
        )
        if self.n_late:
            line += f"; {self.n_correct / self.n_late:.1%} of {self.n_late:,} test images right"
        if self.waiting:
            line += f"\n{self.waiting:,} requests wait in {self.where}; the next run sends them first"
        return line
