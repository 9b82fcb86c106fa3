"""Fragments: each client divides its update into random summands, which its peers add to theirs before they send.

H. Masuda et al., "Model Fragmentation, Shuffle and Aggregation to Mitigate Model Inversion in Federated Learning",
LANMAN 2021 (read: the abstract), mix fragments among peers so that the aggregate equals that of federated averaging.
Differs from the paper: here the fragments are additive
secret shares: all but the last are uniform modulo 2**32, and the last one makes the sum right, in fixed point
(`cutlayer.defenses.updates.fixed`). Client k keeps one and gives the others to those that follow it on the ring of all
numbers; each sends the sum of what it holds.

Not covered: the sum itself; the peers that hold fragments of a client, who learn its update if they all put theirs
together with what the server sees from it; and what a client sends in the clear to its peers, which must be encrypted
on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from cutlayer.defenses.updates.base import Update, UpdateDefense
from cutlayer.defenses.updates.fixed import MOST_PARTIES, added, encoded, limit, numbers
from cutlayer.defenses.updates.secure_aggregation import Bits
from cutlayer.errors import ConfigError
from cutlayer.options import Within


@dataclass(kw_only=True)
class Fragments(UpdateDefense):
    """Divide each update into random summands for its peers; the server sees sums of summands of several clients.

    Args:
        peers: Number of peers that get a summand, or all if there are fewer.
        bits: Bits behind the point of the numbers that are summed; the sum is within ±2**(31 - bits).
    """

    knob = "peers"
    plain_words = "divides each update into random summands that its peers add to theirs before they send"

    peers: Annotated[int, Within(0, MOST_PARTIES)] = 2
    bits: Bits = 20

    def share(self, updates: Mapping[int, Update], rng: np.random.Generator) -> dict[int, Update]:
        """See the base: float64, each number what a sum of fragments stands for."""
        if not self.on:
            return dict(updates)
        ring = sorted(updates)
        if len(ring) < 2:
            raise ConfigError("One client has no peer to give a fragment to; fragments need two clients or more.")
        most = limit(self.bits) / len(ring)
        held = {c: {name: np.zeros(np.shape(v), np.uint32) for name, v in updates[c].items()} for c in ring}
        for place, client in enumerate(ring):
            peers = [ring[(place + k) % len(ring)] for k in range(1, min(self.peers, len(ring) - 1) + 1)]
            for name, value in updates[client].items():
                rest = encoded(value, self.bits, most, name=name)
                for peer in peers:
                    fragment = rng.integers(0, 1 << 32, rest.shape, np.uint32)
                    held[peer][name] += fragment
                    rest = rest - fragment
                held[client][name] += rest
        return {c: {n: numbers(held[c][n], self.bits, v) for n, v in updates[c].items()} for c in updates}

    def summed(self, shared: Mapping[int, Update]) -> dict[str, Any]:
        """See the base."""
        return added(shared, self.bits) if self.on else super().summed(shared)
