"""One session of a training server: the asks that have come, in order, and the replies that may be asked for again."""

from __future__ import annotations

from dataclasses import dataclass, field

from cutlayer.errors import Refused
from cutlayer.wire.message import Message
from cutlayer.wire.training import WINDOW, Ask, Call
from cutlayer.wire.transport import Caller


@dataclass
class Asked:
    """An ask, and the reply to it once there is one.

    Attributes:
        call: What it asks.
        header: Its header, which a repetition must have too.
        asked_s: Time at which it came first.
        caller: Who waits for the reply; None if nobody does.
        held_s: Time since which `caller` waits.
        reply: The reply; None before there is one.
    """

    call: Call
    header: bytes
    asked_s: float
    caller: Caller | None = None
    held_s: float = 0.0
    reply: Message | Refused | None = None


@dataclass
class Lane:
    """A session. For one thread at a time.

    Attributes:
        session: Its name.
        owner: Whose it is; see `cutlayer.cloud.job.owner`.
        client: Number of its client in the plan.
        place: Whose this number is, over all sessions.
        peer: Address of the client, for the log.
        heard_s: Time of its last ask.
        asked: The asks by number whose replies the client may not have.
        queue: Those that the coordinator has not taken.
        next: Number of the ask that the coordinator takes next.
        busy: Whether a thread is giving it an ask.
        over: Whether the client has said that it is done.
    """

    session: str
    owner: str
    client: int
    place: str
    peer: str = ""
    heard_s: float = 0.0
    asked: dict[int, Asked] = field(default_factory=dict)
    queue: dict[int, Ask] = field(default_factory=dict)
    next: int = 0
    busy: bool = False
    over: bool = False

    def arrive(self, ask: Ask, header: bytes, caller: Caller, now_s: float) -> tuple[Asked, Caller | None]:
        """Take in an ask, or its repetition; return it, and who waited for its reply before.

        Raises:
            Refused: The number is over or too early, or was that of another ask.
        """
        known = self.asked.get(ask.step)
        if known is None:
            if ask.step < self.next:
                raise Refused("OUT_OF_RANGE", f"Step {ask.step} of this session is over: step {self.next} is next.")
            if ask.step >= self.next + WINDOW:
                raise Refused(
                    "OUT_OF_RANGE", f"Step {ask.step} of this session is too early: step {self.next} is next."
                )
            known = self.asked[ask.step] = Asked(ask.call, header, now_s)
            self.queue[ask.step] = ask
        elif (known.call, known.header) != (ask.call, header):
            raise Refused("INVALID_ARGUMENT", f"Step {ask.step} of this session was another ask; go on with the next.")
        self.peer, self.heard_s = caller.peer.name, now_s
        needed = max(ask.answered, ask.step - WINDOW + 1)
        for step in [step for step, old in self.asked.items() if step < needed and old.reply is not None]:
            del self.asked[step]
        before, known.caller = known.caller, caller if known.reply is None else None
        known.held_s = now_s
        return known, before

    def take(self) -> Ask | None:
        """Return the next ask for the coordinator and set `busy`; None if it has not come, or a thread gives one."""
        if self.busy or self.next not in self.queue:
            return None
        self.busy, self.next = True, self.next + 1
        return self.queue.pop(self.next - 1)
