"""Admission of requests: how much a server takes on at a time, and its answers when it takes no more."""

from dataclasses import dataclass

from cutlayer.errors import ConfigError, Refused


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server's batches and unanswered requests.

    Attributes:
        max_batch: Most samples computed together. A larger request is computed undivided, by itself.
        max_delay_us: Longest wait of a batch's first request for others, in microseconds.
        max_bytes: Most bytes of unanswered requests; further ones are refused with a time to retry.
    """

    max_batch: int = 16
    max_delay_us: int = 0
    max_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.max_delay_us < 0 or self.max_bytes < 1:
            raise ConfigError(
                f"max_batch and max_bytes must be 1 or more and max_delay_us 0 or more; {self} was given."
            )


def busy(retry_after_ms: int) -> Refused:
    """Return the refusal of a request that is over the limits."""
    return Refused("RESOURCE_EXHAUSTED", "The server is busy; retry later.", retry_after_ms)


def unrecorded() -> Refused:
    """Return the refusal of a request that a durable tap cannot keep."""
    return Refused("RESOURCE_EXHAUSTED", "The server cannot record the request; retry later.", 1000)


def closing() -> Refused:
    """Return the refusal of a request that arrives during a shutdown."""
    return Refused("UNAVAILABLE", "The server is shutting down; retry once it has restarted.", 500)
