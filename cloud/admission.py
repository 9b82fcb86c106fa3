"""Admission of requests: how much a server takes on at a time, and its answers when it takes no more."""

from dataclasses import dataclass

from cutlayer.cloud.lines import Party
from cutlayer.errors import ConfigError, Refused

MOST = 1 << 16
"""Most samples that a batch or a request may be allowed to have."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server's requests and batches.

    Attributes:
        max_batch: Most samples computed together. A larger request is computed in slices.
        max_delay_us: Longest wait of a batch's first request for others, in microseconds.
        max_bytes: Most bytes of unanswered requests, decoded, and of their answers; further ones are refused with a
            time to retry. See `Budget`.
        max_samples: Most samples of a request; larger ones are refused. A few packed bytes may ask for any number, and
            the default is what a tail of 50 ms computes in less than half of the deadline of 30 s: while another client
            takes its turns, such a request is still answered in time.
    """

    max_batch: int = 16
    max_delay_us: int = 0
    max_bytes: int = 256 << 20
    max_samples: int = 256

    def __post_init__(self) -> None:
        if self.max_delay_us < 0 or self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be 1 or more and max_delay_us 0 or more; {self} was given.")
        for name in ("max_batch", "max_samples"):
            if not 1 <= getattr(self, name) <= MOST:
                raise ConfigError(f"{name} must be 1 to {MOST:,}; {getattr(self, name):,} was given.")


class Budget:
    """The bytes of the unanswered requests. For one thread at a time.

    One peer holds at most half of what the others leave, so that there is room for the first request of another one. A
    request counts as half of the budget at most: a larger one is taken when nothing else is there.

    Attributes:
        nbytes: Bytes of the unanswered requests, whole.
    """

    def __init__(self, most: int) -> None:
        self._most, self._half = most, (most + 1) // 2
        self._total = 0
        self.nbytes = 0

    def take(self, party: Party, nbytes: int) -> bool:
        """Count a request of this peer, if there is room for it; return whether there is."""
        counted, held = min(nbytes, self._half), party.held_bytes
        if self._total and 2 * (held + counted) > self._most - (self._total - held):
            return False
        party.held_bytes = held + counted
        self._total += counted
        self.nbytes += nbytes
        return True

    def give_back(self, party: Party, nbytes: int) -> None:
        """Count a request no longer."""
        counted = min(nbytes, self._half)
        party.held_bytes -= counted
        self._total -= counted
        self.nbytes -= nbytes


def busy(retry_after_ms: int) -> Refused:
    """Return the refusal of a request that is over the limits."""
    return Refused("RESOURCE_EXHAUSTED", "The server is busy; retry later.", retry_after_ms)


def unrecorded() -> Refused:
    """Return the refusal of a request that a durable tap cannot keep."""
    return Refused("RESOURCE_EXHAUSTED", "The server cannot record the request; retry later.", 1000)


def closing() -> Refused:
    """Return the refusal of a request that arrives during a shutdown."""
    return Refused("UNAVAILABLE", "The server is shutting down; retry once it has restarted.", 500)
