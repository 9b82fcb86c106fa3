"""Whose turn it is: peers take turns by the tail time that they have used, and so do the connections of one peer.

Who has used the least is next. Who was away begins level with those who wait, so that nobody saves up turns. A batch
takes one request, or a slice of one, of each in turn, up to a number of samples. With one client this number is
`max_batch`, and a larger request is computed undivided, or in slices of `SLICE_S`.

In company it may be smaller. A client waits for the batch under way and for its own, so neither may take much longer
than a request by itself: at most `STRETCH` times the smallest request of the company or, where many wait, about the
mean time until they were served one by one. A tail that computes a batch in nearly the time of one sample loses nothing
by this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from operator import attrgetter
from typing import NamedTuple

from cutlayer.cloud.cost import Cost
from cutlayer.cloud.job import Job
from cutlayer.cloud.lines import Line, Party

COMPANY_S = 10.0
"""Seconds for which a client counts as company after its last request."""

STRETCH = 1.25

LEAST_S = 0.0003
"""Time of a batch that is short enough in any company: a message alone takes longer on its way."""

SLICE_S = 0.05
"""Longest slice of the only client's large request, if more samples than a batch are computed in this time.

Batches would cost such a client time, and whoever comes meanwhile waits no longer than this, once.
"""

LOOK_S = 1.0
"""Seconds after which it is looked again who keeps company."""


class Slice(NamedTuple):
    """Samples `start` to `stop` of a request, to compute in one batch; none where it is only decoded."""

    job: Job
    start: int
    stop: int


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
        self._parties: dict[Hashable, Party] = {}
        self._waiting: dict[Hashable, Party] = {}
        self._level_s = 0.0
        self._n_lines, self._smallest, self._looked_s = 0, max_batch, 0.0
        self.n_samples = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def meet(self, job: Job, now_s: float) -> None:
        """Find the connection of a request that has come."""
        peer = job.callers[0][0].peer
        key = peer.party
        party = self._parties.get(key)
        if party is None:
            party = self._parties[key] = Party(key, self._level_s)
        line = party.lines.get(peer.connection)
        if line is None:
            line = party.lines[peer.connection] = Line(peer.connection, party, party.level_s)
            self._n_lines += 1
        if party.used_s < self._level_s and not party.waiting:
            party.used_s = self._level_s
        if line.used_s < party.level_s and not line.jobs:
            line.used_s = party.level_s
        line.n_samples, line.seen_s, job.line = job.n_samples, now_s, line
        if job.n_samples < self._smallest:
            self._smallest = job.n_samples
        if now_s - self._looked_s > LOOK_S:
            self._look(now_s)

    def put(self, job: Job) -> None:
        """Let a request wait that was met."""
        line, party = job.line, job.line.party
        self._waiting[party.key], party.waiting[line.key] = party, line
        line.jobs.append(job)
        self.n_samples += job.n_samples

    def undivided(self, job: Job) -> list[Slice]:
        """Return a request that was met as a batch, if nothing waits and it need not be divided; else nothing."""
        if self._waiting or job.n_samples > self._longest(job.n_samples, self._room()):
            return []
        party = job.line.party
        self._level_s, party.level_s = party.used_s, job.line.used_s
        job.taken = job.n_samples
        return [Slice(job, 0, job.n_samples)]

    def take(self) -> list[Slice]:
        """Return the next batch; an empty one if nothing waits."""
        parties = deque(sorted(self._waiting.values(), key=_used))
        turns: dict[Party, deque[Line]] = {}
        batch: list[Slice] = []
        room, total = self._room(), 0
        while parties and total < room:
            party = parties.popleft()
            lines = turns.get(party)
            if lines is None:
                lines = turns[party] = deque(sorted(party.waiting.values(), key=_used))
            line = lines.popleft()
            if not batch:
                self._level_s, party.level_s = party.used_s, line.used_s
            job: Job = line.jobs[0]
            left = job.n_samples - job.taken
            longest = self._longest(left, room)
            if left > longest and job.smashed is None:
                # It is decoded in a turn of its own, so that nobody else pays for that.
                if not batch:
                    batch.append(Slice(job, 0, 0))
                break
            if batch and room - total < left <= longest:
                break
            start = job.taken
            job.taken += min(left, room - total if batch else longest)
            batch.append(Slice(job, start, job.taken))
            total += job.taken - start
            if job.taken == job.n_samples:
                self._leave(line)
            if line.jobs:
                lines.append(line)
            if lines:
                parties.append(party)
        self.n_samples -= total
        return batch

    def charge(self, batch: list[Slice], seconds: float, now_s: float) -> None:
        """Note that a batch has taken this long, in shares of its samples."""
        total = sum([part.stop - part.start for part in batch])
        for job, start, stop in batch:
            share_s = seconds * (stop - start) / total if total else seconds
            job.line.used_s += share_s
            job.line.party.used_s += share_s
            job.line.seen_s = now_s
        if total:
            self._cost.observe(total, seconds)

    def drop(self, job: Job) -> None:
        """Forget the rest of a request of which a part was computed."""
        if job.line.jobs and job.line.jobs[0] is job:
            self._leave(job.line)
            self.n_samples -= job.n_samples - job.taken

    def clear(self) -> list[Job]:
        """Forget and return all requests that wait."""
        lines = [line for party in self._waiting.values() for line in party.waiting.values()]
        left: list[Job] = [job for line in lines for job in line.jobs]
        for line in lines:
            line.jobs.clear()
            line.party.waiting.clear()
        self._waiting.clear()
        self.n_samples = 0
        return left

    def expected_s(self) -> float:
        """Return about how long it takes to compute what waits."""
        return self._cost.of(self._max_batch) * (1 + self.n_samples / self._max_batch)

    def _room(self) -> int:
        """Return the most samples of the next batch."""
        if self._n_lines < 2:
            return self._max_batch
        several = len(self._parties) > 1
        n_waiting = len(self._waiting if several else next(iter(self._parties.values())).waiting)
        longest_s = max(LEAST_S, max(STRETCH, n_waiting / 2) * self._cost.of(self._smallest))
        return min(self._max_batch, max(self._smallest, self._cost.most(longest_s)))

    def _longest(self, n: int, room: int) -> int:
        """Return the most samples of a request of n that are computed at a time: more than a batch if that is short."""
        if n > room == self._max_batch and self._n_lines == 1 and self._cost.known:
            while room < n and self._cost.of(2 * room) <= SLICE_S:
                room *= 2
        return room

    def _leave(self, line: Line) -> None:
        """Remove the first request of a line."""
        line.jobs.popleft()
        if not line.jobs:
            del line.party.waiting[line.key]
            if not line.party.waiting:
                del self._waiting[line.party.key]

    def _look(self, now_s: float) -> None:
        """Forget those who keep company no longer and have no request unanswered."""
        self._looked_s = now_s
        for party in list(self._parties.values()):
            for line in list(party.lines.values()):
                if not line.jobs and now_s - line.seen_s > COMPANY_S:
                    del party.lines[line.key]
            if not party.lines and not party.held_bytes:
                del self._parties[party.key]
        lines = [line for party in self._parties.values() for line in party.lines.values()]
        self._n_lines = len(lines)
        self._smallest = min((line.n_samples for line in lines), default=self._max_batch)
