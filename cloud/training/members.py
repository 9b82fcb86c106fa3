"""The clients of a training: who may take part, under which session, and what each of them waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cutlayer.cloud.training.asks import unmet, whole
from cutlayer.errors import Refused
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.wire.training import Ask, Call, Reply

Done = Callable[[Reply | Refused], None]


@dataclass
class Member:
    """One client.

    Attributes:
        samples: Number of its training samples.
        asks: Its unanswered asks in order, each with what answers it.
    """

    samples: int
    asks: deque[tuple[Ask, Done]] = field(default_factory=deque)


class Members:
    """The clients that are here, by number.

    Args:
        plan: The plan.
        classes: Number of classes.
        begun: The digest of the untrained head at each cut.

    Attributes:
        here: The clients that have opened a session.
        gone: Clients that the others no longer wait for.
        closed: Clients that have ended.
    """

    def __init__(self, plan: TrainingPlan, classes: int, begun: Mapping[str, str]) -> None:
        self._plan, self._classes, self._begun = plan, classes, begun
        self._sessions: dict[str, int] = {}
        self.here: dict[int, Member] = {}
        self.gone: set[int] = set()
        self.closed: set[int] = set()

    @property
    def everybody(self) -> set[int]:
        """The clients that the plan has and that are not gone."""
        return set(range(1, self._plan.clients + 1)) - self.gone

    def client_of(self, session: str) -> int:
        """The client of a session; 0 if there is none."""
        return self._sessions.get(session, 0)

    def enter(self, ask: Ask, done: Done) -> int:
        """Note an ask and return its client; that which opens a session is let in, if it fits the plan.

        Raises:
            Refused: The session is not open, or the client does not fit.
            DecodeError: A parameter is missing.
        """
        client = self._sessions.get(ask.session, 0)
        if ask.call is Call.OPEN:
            client = self._admitted(ask)
            self._sessions[ask.session] = client
            self.here[client] = Member(whole(ask, "samples"))
        elif not client:
            raise Refused("NOT_FOUND", "This session is not open at this server; open it first.")
        self.gone.discard(client)
        self.here[client].asks.append((ask, done))
        return client

    def _admitted(self, ask: Ask) -> int:
        plan, client = self._plan, whole(ask, "client")
        if not 1 <= client <= plan.clients:
            raise unmet(f"The clients of this plan are 1 to {plan.clients}; {client} was given.")
        theirs = str(ask.parameters.get("plan", ""))
        if theirs != plan.id:
            raise unmet(f"This server trains the plan {plan.id}; client {client} has {theirs!r:.40}.")
        if whole(ask, "samples") < 1:
            raise unmet(f"Client {client} has no training samples; divide the data otherwise.")
        if (classes := whole(ask, "classes")) != self._classes:
            raise unmet(f"Client {client} has {classes} classes; this server has {self._classes}.")
        if ask.parameters.get("model") != self._begun[plan.cut_of(client)]:
            raise unmet(f"Client {client} begins with another model than this server; compare versions.")
        if client in self.here and client not in self.closed:
            raise Refused("ALREADY_EXISTS", f"Client {client} is here already; give each client a number of its own.")
        return client
