"""From an ask to its reply: each ask of a session is applied once, in order, and one that must wait is held.

A coordinator decides what is replied and when. This file knows nothing of models: it keeps for each session the last
ask and its reply, so that an ask whose reply was lost is answered again without being applied again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from cutlayer.cloud.admission import closing
from cutlayer.cloud.job import owner
from cutlayer.cloud.training.lane import Lane
from cutlayer.errors import DecodeError, Refused
from cutlayer.wire.message import Message
from cutlayer.wire.training import CALLS, CLIENT, READER, SECRET, WAIT, Ask, Call, Reply, read_ask, reply_message
from cutlayer.wire.transport import Caller, nothing, refusal
from cutlayer.wire.visitors import Visitors

log = logging.getLogger("cutlayer.cloud.training")

HOLD_S = 10.0
"""Longest time that an ask is held, in seconds; then the client is told who is waited for, and asks again."""

LOOK_S = 1.0
"""Time between two looks at what is held."""

THREADS = 8
"""Threads in which the coordinator takes asks where the transport's own thread must not compute."""

MOST_READERS = 64
"""Most sessions that only ask for the plan."""

SAID = 3
"""Clients of which a sentence says when they were heard."""

Done = Callable[[Reply | Refused], None]


class Coordinator(Protocol):
    """What decides the replies: the server's half of a protocol. Several threads call it at a time."""

    @property
    def gone(self) -> Collection[int]:
        """Clients that the others no longer wait for."""

    @property
    def awaited(self) -> Collection[int]:
        """Clients without whose next asks nothing goes on."""

    def take(self, ask: Ask, done: Done) -> None:
        """Take the next ask of a session, and call `done` once with its reply: now or later, from any thread.

        It holds no lock while it calls `done`. A session's asks come in order and one after the other, at most `WINDOW`
        of them before their replies. What this raises is a reply, too.
        """

    def waiting(self, session: str) -> str:
        """Return who is waited for before this session gets its reply: a sentence without a full stop.

        It does not wait for a computation.
        """

    def close(self) -> None:
        """Stop, once what is computed now is done. No reply of this coordinator is sent any more."""


class TrainingService:
    """A coordinator that answers the asks of any transport. Drain it after use.

    A client that opens a second session was away and has lost what it had. Then the coordinator and all sessions are
    dropped, `build` makes a coordinator that stands at the last checkpoint, and every client opens a session anew.

    Args:
        build: Makes a coordinator that stands at the last checkpoint, or at the beginning if there is none.
        hold_s: Longest time that an ask is held, in seconds.
        visitors: The log of who is refused; that of the transport, if there is one.
        clock: Monotonic clock, in seconds.

    Attributes:
        coordinator: The coordinator of now.
    """

    def __init__(
        self,
        build: Callable[[], Coordinator],
        hold_s: float = HOLD_S,
        visitors: Visitors | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build, self._hold_s, self._clock = build, hold_s, clock
        self._visitors = visitors or Visitors()
        self.coordinator = build()
        self._changed = threading.Condition()
        self._lanes: dict[str, Lane] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="training")
        self._draining, self._parting = threading.Event(), closing()
        threading.Thread(target=self._watch, name="training-watch", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether asks are taken, which is so until `drain`."""
        return not self._draining.is_set()

    def submit(self, request: Message, arrived_ns: int, caller: Caller, *, lend: bool = False) -> None:
        """See `cutlayer.wire.transport.Handler`."""
        try:
            self._take(request, caller, lend)
        except Exception as error:
            self._refuse(caller, refusal(error))

    def drain(self, deadline_s: float = 5.0, why: str = "") -> None:
        """Refuse new asks, give those that have arrived some time for their reply, and refuse them then.

        Args:
            deadline_s: That time in seconds.
            why: What a client is told that asks still; that the server is shutting down, if left out.
        """
        if why:
            self._parting = Refused("UNAVAILABLE", why, closing().retry_after_ms)
        self._draining.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._callers(), deadline_s)
            for caller in self._forget():
                self._refuse(caller, self._parting)
        self.coordinator.close()
        self._pool.shutdown(wait=False)

    def _take(self, request: Message, caller: Caller, lend: bool) -> None:
        if request.kind not in CALLS:
            raise Refused("UNIMPLEMENTED", "This server trains and does not answer inference; ask another one.")
        ask = read_ask(request)
        secret = ask.parameters.get(SECRET)
        whose = owner(caller.peer.identity, ask.session, secret)
        if whose is None:
            raise DecodeError(
                "A session belongs to the client that proves its key or knows its secret; "
                f"send {SECRET} of 16 to 128 characters."
            )
        ask = ask._replace(parameters={name: value for name, value in ask.parameters.items() if name != SECRET})
        with self._changed:
            if not self.ready:
                raise self._parting
            lane = self._lanes.get(ask.session) or self._opened(ask, whose, caller, secret)
            if lane.owner != whose:
                raise Refused("PERMISSION_DENIED", f"The session {ask.session:.40} belongs to another client.")
            asked, before = lane.arrive(ask, request.header, caller, self._clock())
            reply, coordinator = asked.reply, self.coordinator
            if before is not None:
                # The client asks again because this connection is lost.
                before.answer(Refused("CANCELLED", "The same ask has come over another connection."), nothing)
        if reply is not None:
            caller.answer(reply, nothing)
        elif lend:
            self._give(coordinator, lane)
        else:
            self._pool.submit(self._give, coordinator, lane)

    def _opened(self, ask: Ask, whose: str, caller: Caller, secret: object) -> Lane:
        """Return the lane of a new session. Hold the lock."""
        if ask.call is not Call.OPEN or ask.step:
            raise unknown()
        client = ask.parameters.get(CLIENT)
        if isinstance(client, bool) or not isinstance(client, int) or client < 1:
            raise DecodeError(f"A session is opened with the parameter {CLIENT}, a whole number from 1 on.")
        place = owner(caller.peer.identity, f"client {client}", secret)
        assert place is not None
        other = next((lane for lane in self._lanes.values() if lane.client == client), None)
        if other is not None and other.place != place:
            silent_s = self._clock() - other.heard_s
            raise Refused(
                "ALREADY_EXISTS",
                f"Client {client} takes part already, from {other.peer}, heard {silent_s:.0f} s ago; give each client "
                "a number of its own.",
            )
        if client in self.coordinator.gone:
            raise Refused(
                "FAILED_PRECONDITION",
                f"The others have gone on without client {client}, which was away for too long and has begun again; "
                "it takes part in this run no more.",
            )
        if client >= READER:
            self._forget_a_reader()
        elif other is not None and not other.over:
            self._roll_back(f"client {client} has begun again, from {caller.peer.name}")
        elif other is not None:
            del self._lanes[other.session]
        lane = self._lanes[ask.session] = Lane(ask.session, whose, client, place)
        return lane

    def _forget_a_reader(self) -> None:
        """Make room for one more session that only asks for the plan. Hold the lock."""
        readers = [lane.session for lane in self._lanes.values() if lane.client >= READER]
        if len(readers) >= MOST_READERS:
            del self._lanes[readers[0]]

    def _roll_back(self, why: str) -> None:
        """Go back to the last checkpoint. Hold the lock."""
        log.warning("back to the last checkpoint: %s", why)
        for caller in self._forget():
            caller.answer(unknown(), nothing)
        # It may be writing the checkpoint from which the next one begins.
        self.coordinator.close()
        self.coordinator = self._build()

    def _forget(self) -> list[Caller]:
        """Drop all sessions and return who waits. Hold the lock."""
        callers = self._callers()
        self._lanes.clear()
        return callers

    def _callers(self) -> list[Caller]:
        return [asked.caller for lane in self._lanes.values() for asked in lane.asked.values() if asked.caller]

    def _give(self, coordinator: Coordinator, lane: Lane) -> None:
        """Give the coordinator the asks of a session that are there, in order, unless another thread does."""
        while True:
            with self._changed:
                ask = lane.take()
            if ask is None:
                return
            # Without the tensors of the ask, which a coordinator may drop long before its reply.
            done = partial(self._replied, lane, ask.step, ask.call)
            try:
                coordinator.take(ask, done)
            except Exception as error:
                done(refusal(error))
            finally:
                lane.busy = False

    def _replied(self, lane: Lane, step: int, call: Call, reply: Reply | Refused) -> None:
        """Keep the reply to an ask and send it to who waits."""
        message = reply if isinstance(reply, Refused) else reply_message(reply._replace(step=step), call)
        with self._changed:
            asked = lane.asked.get(step)
            if self._lanes.get(lane.session) is not lane or asked is None or asked.reply is not None:
                return
            if call is Call.OPEN and isinstance(message, Refused):
                # It leaves the number of the client to others.
                del self._lanes[lane.session]
            lane.over = lane.over or (call is Call.CLOSE and isinstance(message, Message))
            asked.reply, caller, asked.caller = message, asked.caller, None
            self._changed.notify_all()
        if caller is not None and isinstance(message, Refused):
            self._refuse(caller, message)
        elif caller is not None:
            caller.answer(message, nothing)

    def _watch(self) -> None:
        """Tell those that are held for long who is waited for."""
        while not self._draining.wait(min(LOOK_S, self._hold_s / 4)):
            now = self._clock()
            with self._changed:
                held = [
                    (lane, step, asked)
                    for lane in self._lanes.values()
                    for step, asked in lane.asked.items()
                    if asked.caller is not None and now - asked.held_s >= self._hold_s
                ]
            for lane, step, asked in held:
                why = self._why(lane, step, now - asked.asked_s)
                with self._changed:
                    caller, asked.caller = asked.caller, None
                if caller is not None:
                    log.info("client %d, %s, waits: %s", lane.client, lane.peer, why)
                    caller.answer(reply_message(Reply(step, {WAIT: why}), asked.call), nothing)

    def _why(self, lane: Lane, step: int, waited_s: float) -> str:
        """Return a sentence on who is waited for before an ask gets its reply."""
        if step in lane.queue:
            why = f"step {lane.next} of this session has not come"
        else:
            try:
                why = f"{self.coordinator.waiting(lane.session)}{self._silent(self.coordinator.awaited)}"
            except Exception:
                log.exception("the coordinator cannot say who is waited for")
                why = "the server waits"
        return f"{why} (since {waited_s:.0f} s)."

    def _silent(self, clients: Collection[int]) -> str:
        """Return when clients were heard last, as the end of a sentence."""
        now = self._clock()
        with self._changed:
            heard = {
                lane.client: f"was heard {now - lane.heard_s:.0f} s ago, from {lane.peer}"
                for lane in self._lanes.values()
            }
        said = [f"client {client} {heard.get(client, 'has not come')}" for client in sorted(clients)[:SAID]]
        return f"; {', '.join(said)}" if said else ""

    def _refuse(self, caller: Caller, refused: Refused) -> None:
        self._visitors.refused(caller.peer.name, refused.code, str(refused))
        caller.answer(refused, nothing)


def unknown() -> Refused:
    """Return the refusal of an ask of a session that is not, or no longer, known."""
    return Refused("NOT_FOUND", "The server knows no such session, or no longer; open one.")
