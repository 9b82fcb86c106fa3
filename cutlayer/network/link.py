"""When bytes that pass a network arrive: the arithmetic of the application-level shaper, without a clock of its own.

The model is a bucket without burst that empties at the link's rate, and a delay line behind it. Loss is a model too,
because TCP loses nothing: a lost packet arrives one round trip later, as after a fast retransmit, and everything behind
it on its connection waits for it, because TCP keeps the order.

The model has no congestion control, which makes a real network slower: a connection that is new or was idle sends about
14 KB at first and twice as much with each round trip (RFC 6928); loss halves what may be under way, so that the rate
over a long path falls to about 1.2 * packet / (round trip * sqrt(loss)) (Mathis et al. 1997); and a lost last packet is
noticed only after about 200 ms. The times are therefore those of a connection that is kept busy and loses little. Where
that does not hold, measure through `cutlayer.network.namespaces`, where the kernel's own TCP meets the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, prod
from random import Random

PACKET_BYTES = 1448
"""Payload of a packet over Ethernet."""

_PIECE_S, _MOST_PIECE_BYTES = 5e-3, 64 << 10
_QUEUE_S = 0.05


def piece_bytes(rate_bps: float) -> int:
    """Number of bytes to read at a time, at most, on a link of this rate.

    It is small, so that connections share the link and bytes do not wait for others far behind them, but not smaller
    than needed, because each piece wakes the relay.
    """
    paced = _MOST_PIECE_BYTES if rate_bps == inf else rate_bps * _PIECE_S / 8
    return int(min(max(paced, PACKET_BYTES), _MOST_PIECE_BYTES))


def late_s(n_bytes: float, rate_bps: float, jitter_s: float) -> float:
    """Median delay of the end of a message by jitter, in seconds: it waits for every late piece before it.

    Each piece is late by an evenly spread time, and those before the last had a head start on it.
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


@dataclass
class Link:
    """One direction of a network, shared by all connections.

    Attributes:
        rate_bps: Bits per second; infinite where there is no limit.
        delay_s: One-way delay.
        jitter_s: Evenly spread change of the delay to either side, drawn for each piece.
        loss: Share of the packets that have to be sent again.
        rtt_s: Time until a lost packet has been sent again.
        random: Source of jitter and loss.
        free_at: When all that was read has left the link.
    """

    rate_bps: float
    delay_s: float
    jitter_s: float
    loss: float
    rtt_s: float
    random: Random
    free_at: float = -inf

    @property
    def takes_at(self) -> float:
        """When more may be read: a full link pushes back on the sender, so that memory stays bounded.

        This is earlier than the link is free, so that a relay that is woken late loses none of its rate.
        """
        return self.free_at - _QUEUE_S

    def arrival(self, now: float, n_bytes: int, before: float = -inf) -> float:
        """When the whole of a piece that comes in now has arrived.

        Args:
            now: Seconds on the caller's clock.
            n_bytes: Size of the piece.
            before: Arrival of the piece before it on the same connection, which it does not overtake.
        """
        self.free_at = max(now, self.free_at) + 8 * n_bytes / self.rate_bps
        late = self.delay_s + self.random.uniform(-self.jitter_s, self.jitter_s)
        some_lost = 1 - (1 - self.loss) ** ceil(n_bytes / PACKET_BYTES)
        while self.random.random() < some_lost:
            late += self.rtt_s
            some_lost = self.loss
        return max(before, self.free_at + late)
