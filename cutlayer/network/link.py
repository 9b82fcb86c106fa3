"""Arrival times of bytes on a network: the arithmetic of the application-level shaper, without a clock of its own.

A bucket without burst empties at the link's rate, followed by a delay line. Loss is a model, because TCP delivers every
byte: a lost packet arrives one round trip later, as after a fast retransmit, and all later bytes of its connection wait
for it, because TCP keeps the order.

The model has no congestion control, which makes a real network slower: a connection that is new or was idle sends about
14 KB at first and doubles that with each round trip (RFC 6928); loss halves the window, so that the rate over a long
path falls to about 1.2 * packet / (round trip * sqrt(loss)) (Mathis et al. 1997); and the loss of a last packet is
detected only after about 200 ms. So the times are those of a busy connection with little loss. For other cases measure
with `cutlayer.network.namespaces`, which uses the kernel's own TCP.
"""

from __future__ import annotations

from math import ceil, inf, prod
from random import Random

PACKET_BYTES = 1448
"""Payload of a packet over Ethernet."""

_PIECE_S, _MOST_PIECE_BYTES = 5e-3, 64 << 10
_QUEUE_S = 0.05


def piece_bytes(rate_bps: float) -> int:
    """Return the most bytes to read at a time on a link of this rate.

    Small pieces let connections share the link, and do not wait for later bytes. Each piece wakes the relay, so pieces
    are not smaller than needed.
    """
    paced = _MOST_PIECE_BYTES if rate_bps == inf else rate_bps * _PIECE_S / 8
    return int(min(max(paced, PACKET_BYTES), _MOST_PIECE_BYTES))


def late_s(n_bytes: float, rate_bps: float, jitter_s: float) -> float:
    """Return the median delay by jitter of the end of a message, which waits for every late piece before it.

    The delay of each piece is uniformly distributed, and earlier pieces started earlier.
    """
    if not jitter_s:
        return 0.0
    size = piece_bytes(rate_bps)
    before = ceil(n_bytes / size) - 1
    starts_s = [8 * (n_bytes - i * size) / rate_bps for i in range(before, 0, -1)]
    heads_s = [0.0, *(start_s for start_s in starts_s if start_s < 2 * jitter_s)]
    low, high = -jitter_s, jitter_s
    for _ in range(30):
        middle = (low + high) / 2
        in_time = prod(min(1.0, (middle + head_s + jitter_s) / (2 * jitter_s)) for head_s in heads_s)
        low, high = (low, middle) if in_time > 0.5 else (middle, high)
    return low


class Link:
    """One direction of a network, shared by all connections.

    Args:
        rate_bps: Bits per second; infinite for no limit.
        delay_s: Delay in one direction, in seconds.
        jitter_s: Half width of the uniform distribution of each piece's delay, in seconds.
        loss: Share of the packets that are sent again.
        rtt_s: Time until a lost packet is sent again, in seconds.
        random: Source of jitter and loss.
    """

    def __init__(
        self, rate_bps: float, delay_s: float, jitter_s: float, loss: float, rtt_s: float, random: Random
    ) -> None:
        self._rate_bps, self._delay_s, self._jitter_s = rate_bps, delay_s, jitter_s
        self._loss, self._rtt_s, self._random = loss, rtt_s, random
        self._free_at = -inf
        self.piece_bytes = piece_bytes(rate_bps)
        """Most bytes to read at a time."""

    @property
    def takes_at(self) -> float:
        """Time from which more may be read, so that a full link slows the sender and memory stays bounded.

        It lies before the time when the link is free, so that a relay that wakes late loses none of its rate.
        """
        return self._free_at - _QUEUE_S

    def arrival(self, now: float, n_bytes: int, before: float = -inf) -> float:
        """Return the time at which a piece that is read now has arrived completely.

        Args:
            now: Current time on the caller's clock, in seconds.
            n_bytes: Size of the piece.
            before: Arrival of the previous piece on the same connection, which this piece does not overtake.
        """
        self._free_at = max(now, self._free_at) + 8 * n_bytes / self._rate_bps
        late = self._delay_s + self._random.uniform(-self._jitter_s, self._jitter_s)
        some_lost = 1 - (1 - self._loss) ** ceil(n_bytes / PACKET_BYTES)
        while self._random.random() < some_lost:
            late += self._rtt_s
            some_lost = self._loss
        return max(before, self._free_at + late)
