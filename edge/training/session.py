"""A client's session with a training server: numbered asks, each of which is applied once, over lost connections."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from cutlayer.errors import DeadlineExceeded, DecodeError, Refused, Unreachable, WireError
from cutlayer.foreign import shown
from cutlayer.wire.codecs.base import NO_PARAMETERS, Encoded, Parameter
from cutlayer.wire.message import Message
from cutlayer.wire.outcomes import outcome
from cutlayer.wire.training import (
    NO_TENSORS,
    ROUND,
    SECRET,
    WAIT,
    WINDOW,
    Ask,
    Call,
    Reply,
    ask_message,
    read_reply,
)
from cutlayer.wire.transport import Timeouts, Transport

log = logging.getLogger("cutlayer.edge.training")

PATIENCE_S = 600.0
"""Longest silence of a server after which a client still goes on, in seconds: time to start the server again."""

CLOSING_S = 10.0
"""The same for CLOSE, since a server that has replied to all may end before each client has its reply."""

AGAIN = "Trying again for up to"
"""Words of the line of the log that says that the server is not there."""

_FIRST_S, _MOST_S = 0.1, 2.0
"""First and longest pause between two attempts, in seconds."""


class RolledBack(Exception):
    """The run has gone back to a checkpoint, because the server or a client was away.

    Attributes:
        round: Number of rounds that are finished: load the state of this client after them, and go on from there.
    """

    def __init__(self, round: int) -> None:
        super().__init__(f"The run has gone back to the end of round {round}.")
        self.round = round


class Session:
    """The asks of one client, of which the first must be OPEN. One thread makes them.

    Args:
        transport: Connection to the server; the caller closes it.
        patience_s: Longest silence of the server in seconds.
        secret: What proves to the server that a later process is the same client; 16 to 128 characters. A random one
            if left out, so that nobody can go on in its place.
        timeouts: `request_s` is the deadline of each attempt; the server holds an ask for up to 10 s.
        sleep: Waits for the given number of seconds.
    """

    def __init__(
        self,
        transport: Transport,
        patience_s: float = PATIENCE_S,
        secret: str | None = None,
        timeouts: Timeouts | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._transport, self._patience_s, self._sleep = transport, patience_s, sleep
        self._secret = secret or secrets.token_hex(16)
        self._request_s = (timeouts or Timeouts()).request_s
        self._opening: tuple[Mapping[str, Parameter], Mapping[str, Encoded]] = NO_PARAMETERS, NO_TENSORS
        self._lock, self._reopening = threading.Lock(), threading.Lock()
        self._name, self._steps, self._finished = "", 0, 0
        self._unanswered: set[int] = set()
        # The pool starts a thread only when an ask needs one.
        self._pool = ThreadPoolExecutor(WINDOW, thread_name_prefix="session")

    def ask(
        self,
        call: Call,
        parameters: Mapping[str, Parameter] = NO_PARAMETERS,
        tensors: Mapping[str, Encoded] = NO_TENSORS,
    ) -> Reply:
        """Ask, and return the reply, however long others are waited for.

        A server that is silent at CLOSE has ended, which is no error.

        Raises:
            RolledBack: The run has gone back to a checkpoint; a session is open there.
            Refused: The server refuses the ask.
            Unreachable: The server was silent for longer than the patience.
            DecodeError: The reply cannot be read.
        """
        if call is Call.OPEN:
            self._opening = parameters, tensors
            return self._open()
        ask = self._numbered(call, parameters, tensors)
        try:
            return self._asked(ask)
        except Unreachable as error:
            if call is not Call.CLOSE:
                raise
            log.info("the session was not closed: %s", error)
            return Reply(ask.step)

    def submit(
        self,
        call: Call,
        parameters: Mapping[str, Parameter] = NO_PARAMETERS,
        tensors: Mapping[str, Encoded] = NO_TENSORS,
    ) -> Future[Reply]:
        """Ask without waiting; the future holds the reply, or what `ask` would raise.

        The server takes asks in the order of these calls. At most `WINDOW` may be without a reply.
        """
        return self._pool.submit(self._asked, self._numbered(call, parameters, tensors))

    def close(self) -> None:
        """End the threads of `submit`. The caller has closed the transport, or has all replies."""
        self._pool.shutdown(wait=False)

    def _numbered(self, call: Call, parameters: Mapping[str, Parameter], tensors: Mapping[str, Encoded]) -> Ask:
        with self._lock:
            step = self._steps
            self._steps += 1
            self._unanswered.add(step)
            answered = min(self._unanswered)
            return Ask(call, self._name, step, {**parameters, SECRET: self._secret}, tensors, answered)

    def _asked(self, ask: Ask) -> Reply:
        try:
            return self._exchanged(ask)
        except _Unknown:
            with self._reopening:
                # Of several asks without a reply, the first one opens a session.
                if ask.session == self._name:
                    self._finished = _rounds(self._open())
        raise RolledBack(self._finished)

    def _open(self) -> Reply:
        while True:
            with self._lock:
                self._name, self._steps, self._unanswered = secrets.token_hex(8), 0, set()
            try:
                return self._exchanged(self._numbered(Call.OPEN, *self._opening))
            except _Unknown:
                # The run went back while the server held this ask.
                self._sleep(_FIRST_S)

    def _exchanged(self, ask: Ask) -> Reply:
        """Ask until there is a reply that is none to wait."""
        message, said = ask_message(ask), ""
        patience_s = min(CLOSING_S, self._patience_s) if ask.call is Call.CLOSE else self._patience_s
        try:
            while True:
                reply = read_reply(self._replied(message, patience_s))
                if reply.step != ask.step:
                    raise DecodeError(f"The server replied to step {reply.step}, not {ask.step}.")
                if (why := reply.parameters.get(WAIT)) is None:
                    return reply
                if not said:
                    log.info("waiting: %s", shown(str(why)))
                said = str(why)
        finally:
            with self._lock:
                if ask.session == self._name:
                    self._unanswered.discard(ask.step)

    def _replied(self, message: Message, patience_s: float) -> Message:
        """Return the server's reply to a message, which is sent again while the patience lasts."""
        silent_since, pause_s = time.monotonic(), _FIRST_S
        while True:
            try:
                return self._transport.request(message, self._request_s)
            except Refused as refused:
                if refused.code == "NOT_FOUND":
                    raise _Unknown from None
                if not outcome(refused).again:
                    raise
                error: WireError = refused
            except WireError as lost:
                if not (outcome(lost).again or isinstance(lost, (Unreachable, DeadlineExceeded))):
                    raise
                error = lost
            silent_s = time.monotonic() - silent_since
            if silent_s + pause_s > patience_s:
                raise Unreachable(
                    f"{self._transport.address} was silent for {silent_s:.0f} s ({error})", "start the server again"
                ) from None
            if pause_s == _FIRST_S:
                log.warning("%s %s %.0f s.", error, AGAIN, patience_s)
            self._sleep(pause_s)
            pause_s = min(_MOST_S, 2 * pause_s)


def _rounds(reply: Reply) -> int:
    """Return the number of finished rounds in the reply to OPEN."""
    finished = reply.parameters.get(ROUND)
    if isinstance(finished, bool) or not isinstance(finished, int) or finished < 0:
        raise DecodeError(f"The server has opened a session at round {finished!r:.40}, which is no number of rounds.")
    return finished


class _Unknown(Exception):
    """The server does not know the session."""
