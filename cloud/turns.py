"""Whose turn it is: peers take turns by the tail time that they have used, and so do the connections of one peer.

Who has used the least is next. Who was away begins level with those who wait, so that nobody saves up turns. A batch
takes one request, or a slice of one, of each in turn, up to a number of samples. With one client this number is
`max_batch`, so that its logits are the same each time.

In company it may be smaller. A client waits for the batch under way and for its own, so neither may take much longer
than a request by itself: at most `STRETCH` times the smallest request of the company or, where many wait, the mean time
until they were served one by one. A tail that computes a batch in nearly the time of one sample loses nothing by this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from cutlayer.cloud.cost import Cost
from cutlayer.cloud.job import Job

COMPANY_S = 10.0
"""Seconds for which a client counts as company after its last request."""

STRETCH = 1.25

LEAST_S = 0.0003
"""Time of a batch that is short enough in any company: a message alone takes longer on its way."""

LOOK_S = 1.0
"""Seconds after which it is looked again who keeps company."""


class Slice(NamedTuple):
    """Samples `start` to `stop` of a request, to compute in one batch; none where it is only decoded."""

    job: Job
    start: int
    stop: int


@dataclass(eq=False, slots=True)
class Party:
    """What the connections of one peer have used together.

    Attributes:
        key: Its identity.
        used_s: Tail time that it has used, in seconds; more if it was away.
        level_s: What the connection that was served last had used.
        lines: Its connections.
        waiting: Those with requests.
    """

    key: Hashable
    used_s: float
    level_s: float = 0.0
    lines: dict[Hashable, Line] = field(default_factory=dict)
    waiting: dict[Hashable, Line] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Line:
    """What one connection has used, and its waiting requests; see `Party`.

    Attributes:
        n_samples: Samples of its last request.
        seen_s: Time of its last request, or of its last slice.
    """

    key: Hashable
    peer: Party
    used_s: float
    n_samples: int = 0
    seen_s: float = 0.0
    jobs: deque[Job] = field(default_factory=deque)


_used = attrgetter("used_s")


class Turns:
    """The waiting requests. For one thread at a time.

    Args:
        max_batch: Most samples of a batch.

    Attributes:
        n_samples: Samples that wait.
    """

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._cost = Cost()
        self._peers: dict[Hashable, Party] = {}
        self._waiting: dict[Hashable, Party] = {}
        self._level_s = 0.0
        self._n_lines, self._smallest, self._looked_s = 0, max_batch, 0.0
        self.n_samples = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def meet(self, job: Job, now_s: float) -> None:
        """Note from which connection a request has come."""
        party, connection = job.peer.party, job.peer.connection
        peer = self._peers.get(party)
        if peer is None:
            peer = self._peers[party] = Party(party, self._level_s)
        line = peer.lines.get(connection)
        if line is None:
            line = peer.lines[connection] = Line(connection, peer, peer.level_s)
            self._n_lines += 1
        if not peer.waiting:
            peer.used_s = max(peer.used_s, self._level_s)
        if not line.jobs:
            line.used_s = max(line.used_s, peer.level_s)
        line.n_samples, line.seen_s = job.n_samples, now_s
        self._smallest = min(self._smallest, job.n_samples)
        if now_s - self._looked_s > LOOK_S:
            self._look(now_s)

    def put(self, job: Job) -> None:
        """Let a request wait that was met."""
        peer = self._peers[job.peer.party]
        line = peer.lines[job.peer.connection]
        self._waiting[peer.key], peer.waiting[line.key] = peer, line
        line.jobs.append(job)
        self.n_samples += job.n_samples

    def undivided(self, job: Job) -> list[Slice]:
        """Return a request that was met as a batch, if nothing waits and it is no longer than a batch; else nothing."""
        if self._waiting or job.n_samples > self.room():
            return []
        peer = self._peers[job.peer.party]
        self._level_s, peer.level_s = peer.used_s, peer.lines[job.peer.connection].used_s
        return [Slice(job, 0, job.n_samples)]

    def take(self) -> list[Slice]:
        """Return the next batch; an empty one if nothing waits."""
        peers = deque(sorted(self._waiting.values(), key=_used))
        turns: dict[Party, deque[Line]] = {}
        batch: list[Slice] = []
        room, total = self.room(), 0
        while peers and total < room:
            peer = peers.popleft()
            lines = turns.get(peer)
            if lines is None:
                lines = turns[peer] = deque(sorted(peer.waiting.values(), key=_used))
            line = lines.popleft()
            if not batch:
                self._level_s, peer.level_s = peer.used_s, line.used_s
            job = line.jobs[0]
            left = job.n_samples - job.taken
            if left > room and job.smashed is None:
                # It is decoded in a turn of its own, so that nobody else pays for that.
                if not batch:
                    batch.append(Slice(job, 0, 0))
                break
            if room - total < left <= room:
                break
            start = job.taken
            job.taken += min(left, room - total)
            batch.append(Slice(job, start, job.taken))
            total += job.taken - start
            if job.taken == job.n_samples:
                self._leave(line)
            if line.jobs:
                lines.append(line)
            if lines:
                peers.append(peer)
        self.n_samples -= total
        return batch

    def charge(self, batch: list[Slice], seconds: float, now_s: float) -> None:
        """Note that a batch has taken this long, in shares of its samples."""
        total = sum(part.stop - part.start for part in batch)
        for job, start, stop in batch:
            share_s = seconds * (stop - start) / total if total else seconds
            if line := self._line(job):
                line.used_s += share_s
                line.peer.used_s += share_s
                line.seen_s = now_s
        if total:
            self._cost.observe(total, seconds)

    def drop(self, job: Job) -> None:
        """Forget the rest of a request of which a part was computed."""
        line = self._line(job) if job.taken < job.n_samples else None
        if line and line.jobs and line.jobs[0] is job:
            self._leave(line)
            self.n_samples -= job.n_samples - job.taken

    def clear(self) -> list[Job]:
        """Forget and return all requests that wait."""
        lines = [line for peer in self._waiting.values() for line in peer.waiting.values()]
        left = [job for line in lines for job in line.jobs]
        for line in lines:
            line.jobs.clear()
            line.peer.waiting.clear()
        self._waiting.clear()
        self.n_samples = 0
        return left

    def room(self) -> int:
        """Return the most samples of the next batch."""
        if self._n_lines < 2:
            return self._max_batch
        waiting = self._waiting if len(self._peers) > 1 else next(iter(self._peers.values())).waiting
        longest_s = max(LEAST_S, max(STRETCH, (len(waiting) + 1) / 2) * self._cost.of(self._smallest))
        return min(self._max_batch, max(self._smallest, self._cost.most(longest_s)))

    def expected_s(self) -> float:
        """Return about how long it takes to compute what waits."""
        return self._cost.of(self._max_batch) * (1 + self.n_samples / self._max_batch)

    def _line(self, job: Job) -> Line | None:
        """Return the connection of a request, unless it was silent for so long that it is forgotten."""
        peer = self._peers.get(job.peer.party)
        return peer.lines.get(job.peer.connection) if peer else None

    def _leave(self, line: Line) -> None:
        """Remove the first request of a line."""
        line.jobs.popleft()
        if not line.jobs:
            del line.peer.waiting[line.key]
            if not line.peer.waiting:
                del self._waiting[line.peer.key]

    def _look(self, now_s: float) -> None:
        """Forget those who keep company no longer."""
        self._looked_s = now_s
        for peer in list(self._peers.values()):
            for line in [line for line in peer.lines.values() if not line.jobs and now_s - line.seen_s > COMPANY_S]:
                del peer.lines[line.key]
            if not peer.lines:
                del self._peers[peer.key]
        lines = [line for peer in self._peers.values() for line in peer.lines.values()]
        self._n_lines = len(lines)
        self._smallest = min((line.n_samples for line in lines), default=self._max_batch)
