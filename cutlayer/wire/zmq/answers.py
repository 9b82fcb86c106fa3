"""Which thread of a ZeroMQ client waits for which answer."""

from __future__ import annotations

from queue import SimpleQueue

from cutlayer.errors import WireError
from cutlayer.wire.message import Message

Answer = SimpleQueue[Message | WireError | None]

LEAD = None
"""Item of an `Answer` that is no answer: the thread that receives it takes over reading the socket."""


class Answers:
    """The unanswered requests of one client by correlation number. Hold the socket's lock for each call."""

    def __init__(self) -> None:
        self.waiting: dict[int, Answer] = {}
        self._correlation = 0
        # Abandoned requests whose answers may still arrive: single ones, and all up to the last lost connection.
        self._late: set[int] = set()
        self._lost_up_to = 0

    def expect(self, answer: Answer) -> int:
        """Register a request; return its correlation number, which the reply repeats."""
        self._correlation += 1
        self.waiting[self._correlation] = answer
        return self._correlation

    def abandon(self, correlation: int) -> None:
        """Give up a request, if it is unanswered. Its late answer will be dropped."""
        if self.waiting.pop(correlation, None):
            self._late.add(correlation)

    def deliver(self, correlation: int, reply: Message) -> bool:
        """Hand a reply to its thread, or drop it if it is late; return False if there was no such request."""
        if answer := self.waiting.pop(correlation, None):
            answer.put(reply)
            return True
        late = 0 < correlation <= self._lost_up_to or correlation in self._late
        self._late.discard(correlation)
        return late

    def appoint(self) -> None:
        """Make one of the waiting threads read the socket."""
        for answer in self.waiting.values():
            answer.put(LEAD)
            return

    def fail(self, error: WireError) -> None:
        """Answer all requests with this error."""
        for answer in self.waiting.values():
            answer.put(error)
        self.waiting.clear()
        self._late.clear()
        self._lost_up_to = self._correlation
