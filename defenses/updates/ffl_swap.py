"""FFL swap: pairs of clients exchange some coordinates of their updates before each sends its own to the server.

N. M. Jebreel et al., "Enhanced Security and Privacy via Fragmented Federated Learning", IEEE TNNLS 2022; code
github.com/najeebjebreel/FFL @2dfc8f1. The mask of the released code is a normal draw of 0.5 or more, so that 31 % of
the coordinates are exchanged where a uniform draw would have exchanged half of them: the default of `exchanged`.

Differs from the paper: the exchanged coordinates are not encrypted on the way and no reputation chooses the pairs;
they are drawn. With an odd number of clients one of them has no partner and sends its update as it is.

Not covered: the coordinates that stay. An attacker who knows the map takes each update for one in which the share
1 - `exchanged` is real, and matches what agrees with itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cutlayer.defenses.updates.base import Update, UpdateDefense
from cutlayer.options import Share


@dataclass(kw_only=True)
class FFLSwap(UpdateDefense):
    """Exchange a share of the coordinates between pairs of clients, drawn anew for each coordinate.

    Args:
        exchanged: The probability with which a coordinate is exchanged.
    """

    knob = "exchanged"
    plain_words = "lets pairs of clients exchange some coordinates of their updates"

    exchanged: Share = 0.3085

    def share(self, updates: Mapping[int, Update], rng: np.random.Generator) -> dict[int, Update]:
        """See the base."""
        if not self.on:
            return dict(updates)
        shared: dict[int, Update] = dict(updates)
        order = [int(client) for client in rng.permutation(sorted(updates))]
        for one, other in zip(order[::2], order[1::2], strict=False):
            first, second = updates[one], updates[other]
            masks = {name: rng.random(tuple(value.shape)) < self.exchanged for name, value in first.items()}
            shared[one] = {name: _where(masks[name], second[name], first[name]) for name in first}
            shared[other] = {name: _where(masks[name], first[name], second[name]) for name in first}
        return shared


def _where(mask: Any, one: Any, other: Any) -> Any:
    """`one` where the mask is, in the same kind of arrays."""
    return (
        torch.where(torch.from_numpy(mask), one, other) if isinstance(one, torch.Tensor) else np.where(mask, one, other)
    )
