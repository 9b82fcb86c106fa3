"""One round as the server sees it: who takes part, who has done what, and who is served next."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from cutlayer.cloud.training.tails import Batch
from cutlayer.protocols.counts import Counts


@dataclass
class Round:
    """The state of one round.

    Attributes:
        number: 1 for the first.
        order: The clients in the order in which they are served, without those that were dropped.
        steps: The number of steps that each client announced, of those that have asked for their turn.
        served: The number of steps that each client has taken.
        keys: The public key of each client that has asked for its turn, where weights are masked.
        given: The clients that were told to begin.
        heads: What each client delivered at its end: the weights of its head, which may be none.
        optimizers: What the optimiser of each head remembers, where it is averaged.
        queued: Batches that wait for their place in the order, of clients that do not wait for a gradient.
        dropped: Clients without which the round goes on.
        evaluators: The clients that measure the accuracy; None while the round trains.
        measured: The counts of each evaluator.
        ended: The evaluators that have ended.
        announced: Whether it has been said that the round is over.
    """

    number: int
    order: list[int]
    steps: dict[int, int] = field(default_factory=dict)
    served: dict[int, int] = field(default_factory=dict)
    keys: dict[int, bytes] = field(default_factory=dict)
    given: set[int] = field(default_factory=set)
    heads: dict[int, Mapping[str, Tensor]] = field(default_factory=dict)
    optimizers: dict[int, Mapping[str, Tensor]] = field(default_factory=dict)
    queued: dict[int, deque[Batch]] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    evaluators: Sequence[int] | None = None
    measured: dict[int, Counts] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    announced: bool = False

    @property
    def late(self) -> list[int]:
        """The clients that have not delivered, in the order of service."""
        return [client for client in self.order if client not in self.heads]

    @property
    def unready(self) -> list[int]:
        """The clients that have not asked for their turn."""
        return [client for client in self.order if client not in self.steps]

    @property
    def active(self) -> list[int]:
        """The clients that have steps to take."""
        return [client for client in self.order if self.served.get(client, 0) < self.steps.get(client, 0)]

    @property
    def next_in_line(self) -> int | None:
        """The client whose batch is next where clients take turns batch by batch; each gets a batch in each cycle."""
        return min(self.active, key=lambda client: self.served.get(client, 0), default=None)

    @property
    def trained(self) -> bool:
        """Whether all clients have delivered and all their batches are processed."""
        return not self.late and not any(self.queued.values())

    @property
    def measuring(self) -> list[int]:
        """The evaluators that have not ended."""
        return [client for client in self.evaluators or () if client not in self.ended]
