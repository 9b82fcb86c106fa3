"""One session of a training server: its last ask, and the reply to it, which a repeated ask gets again."""

from __future__ import annotations

from dataclasses import dataclass

from cutlayer.errors import Refused
from cutlayer.wire.message import Message
from cutlayer.wire.training import Ask, Call
from cutlayer.wire.transport import Caller


@dataclass
class Lane:
    """A session. For one thread at a time.

    Attributes:
        session: Its name.
        owner: Whose it is; see `cutlayer.cloud.job.owner`.
        client: Number of its client in the plan.
        place: Whose this number is, over all sessions.
        call: What its last ask asks.
        step: Number of its last ask; -1 before the first.
        header: Header of its last ask, which a repetition must have too.
        reply: The reply to its last ask; None before there is one.
        caller: Who waits for the reply; None if nobody does.
        peer: Address of the client, for the log.
        asked_s: Time of its last ask.
        held_s: Time since which `caller` waits.
    """

    session: str
    owner: str
    client: int
    place: str
    call: Call = Call.OPEN
    step: int = -1
    header: bytes = b""
    reply: Message | Refused | None = None
    caller: Caller | None = None
    peer: str = ""
    asked_s: float = 0.0
    held_s: float = 0.0

    @property
    def over(self) -> bool:
        """Whether the client has said that it is done."""
        return self.call is Call.CLOSE and isinstance(self.reply, Message)

    def arrive(self, ask: Ask, header: bytes, caller: Caller, now_s: float) -> bool:
        """Take in an ask; return False for a repetition of the last one.

        Raises:
            Refused: It is neither the next ask nor a repetition.
        """
        if ask.step == self.step:
            if (ask.call, header) != (self.call, self.header):
                raise Refused(
                    "INVALID_ARGUMENT", f"Step {ask.step} of this session was another ask; go on with the next."
                )
        elif ask.step != self.step + 1:
            over_or_early = "is over" if ask.step < self.step else "comes too early"
            raise Refused(
                "OUT_OF_RANGE", f"Step {ask.step} of this session {over_or_early}: step {self.step} was the last one."
            )
        elif self.step >= 0 and self.reply is None:
            raise Refused("OUT_OF_RANGE", f"Step {self.step} of this session has no reply yet; wait for it.")
        new = ask.step != self.step
        if new:
            self.call, self.step, self.header, self.reply = ask.call, ask.step, header, None
            self.asked_s = now_s
        if self.reply is None:
            self.caller, self.held_s = caller, now_s
        self.peer = caller.peer.name
        return new
