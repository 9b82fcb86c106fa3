"""When bytes arrive that pass a network: the arithmetic of the application-level shaper, without a clock of its own.

A bucket without burst empties at the link's rate, and a delay line follows it. Loss is a model, for what TCP carries
is never lost: a lost packet comes one round trip later, as after a fast retransmit, and all that is behind it on its
connection waits for it, as TCP keeps the order.

The model has no congestion control, and a real network is slower for it: a connection that is new or was idle sends
some 14 KB at first and twice as much with each round trip (RFC 6928), loss halves what may be under way, so that a
rate over a long path falls to about 1.2 * packet / (round trip * sqrt(loss)) (Mathis et al. 1997), and a lost last
packet is missed only after some 200 ms. So times are those of a connection that is kept busy and loses little; where
that is not the question, measure through `cutlayer.network.namespaces`, where the kernel's own TCP meets the network.
"""

from __future__ import annotations

from math import ceil, inf, prod
from random import Random

PACKET_BYTES = 1448
"""Of payload, over Ethernet."""

_PIECE_S, _MOST_PIECE_BYTES = 5e-3, 64 << 10
_QUEUE_S = 0.05


def piece_bytes(rate_bps: float) -> int:
    """To be read at a time, at most, on a link of this rate.

    Small, so that connections share the link and bytes do not wait for others far behind them; not smaller than
    needed, for each piece wakes the relay.
    """
    paced = _MOST_PIECE_BYTES if rate_bps == inf else rate_bps * _PIECE_S / 8
    return int(min(max(paced, PACKET_BYTES), _MOST_PIECE_BYTES))


def late_s(n_bytes: float, rate_bps: float, jitter_s: float) -> float:
    """How late jitter makes the end of a message, in the median: it waits for every piece before it that is late.

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


class Link:
    """One direction of a network, shared by all connections.

    Args:
        rate_bps: Bits per second; infinite for none.
        delay_s: One way.
        jitter_s: To either side of the delay, evenly spread, for each piece.
        loss: Share of the packets that have to be sent again.
        rtt_s: Until they are.
        random: Source of jitter and loss.
    """

    def __init__(
        self, rate_bps: float, delay_s: float, jitter_s: float, loss: float, rtt_s: float, random: Random
    ) -> None:
        self._rate_bps, self._delay_s, self._jitter_s = rate_bps, delay_s, jitter_s
        self._loss, self._rtt_s, self._random = loss, rtt_s, random
        self._free_at = -inf
        self.piece_bytes = piece_bytes(rate_bps)
        """To be read at a time, at most."""

    @property
    def takes_at(self) -> float:
        """When more may be read. A full link pushes back on the sender, and memory stays bounded.

        Before the link is free: a relay that is woken late then loses none of its rate.
        """
        return self._free_at - _QUEUE_S

    def arrival(self, now: float, n_bytes: int, before: float = -inf) -> float:
        """When a piece that comes in now is there, as a whole.

        Args:
            now: Seconds, on the caller's clock.
            n_bytes: Of the piece.
            before: Arrival of the piece before it on the same connection, which it does not overtake.
        """
        self._free_at = max(now, self._free_at) + 8 * n_bytes / self._rate_bps
        late = self._delay_s + self._random.uniform(-self._jitter_s, self._jitter_s)
        some_lost = 1 - (1 - self._loss) ** ceil(n_bytes / PACKET_BYTES)
        while self._random.random() < some_lost:
            late += self._rtt_s
            some_lost = self._loss
        return max(before, self._free_at + late)
