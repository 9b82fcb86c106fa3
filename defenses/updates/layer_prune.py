"""Layer-wise pruning: whole layers are not sent, drawn at random or by how much they tell.

Z. Zhu, Y. Shi, J. Luo, F. Wang, C. Peng, P. Fan, K. B. Letaief, "FedLP: Layer-wise Pruning Mechanism for
Communication-Computation Efficient Federated Learning", ICC 2023: each client leaves out each layer with a fixed
probability. With ``by = "sensitivity"`` the layers whose gradients tell most of the samples are left out, which is the
block-wise pruning by sensitivity that surveys list; the measure is that of GradDefense (see
`cutlayer.defenses.updates.sensitivity`), as that of the papers was not found.

Differs from FedLP: a layer that is left out counts as not changed in the average, and does not leave the average to the
clients that have sent it.

Threat model: the aggregator of the updates; layers of zeros tell it what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from cutlayer.defenses.updates.base import Local, Update
from cutlayer.defenses.updates.masked import Masked
from cutlayer.defenses.updates.sensitivity import sensitivities
from cutlayer.errors import ConfigError
from cutlayer.options import Count, Share

WAYS = ("chance", "sensitivity")


@dataclass(kw_only=True)
class LayerPrune(Masked):
    """Send zeros in place of whole layers.

    Args:
        rate: Probability that a layer is left out; by sensitivity, the share of the layers, one at least.
        by: Whether ``chance`` decides, or the layers of the greatest ``sensitivity`` are left out.
        samples: The greatest number of samples that the sensitivity is computed from.
    """

    knob = "rate"
    plain_words = "leaves out whole layers"

    rate: Share = 0.5
    by: str = "chance"
    samples: Count = 64

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise ConfigError(f"layer-prune.by must be {' or '.join(WAYS)}; {self.by!r:.80} was given.")

    @property
    def needs_loss(self) -> bool:
        """See the base."""
        return self.by == "sensitivity"

    def masks(self, update: Update, rng: np.random.Generator, local: Local | None) -> Update:
        """See the base."""
        layers = list(dict.fromkeys(name.rpartition(".")[0] for name in update))
        if self.by == "chance":
            left_out = {layer for layer in layers if rng.random() < self.rate}
        else:
            known = sensitivities(self.needed(local), update, rng, self.samples)
            total = {layer: sum(s for n, s in known.items() if n.rpartition(".")[0] == layer) for layer in layers}
            count = max(1, int(self.rate * len(layers)))
            left_out = set(sorted(layers, key=lambda layer: total[layer])[-count:])
        return {
            name: array_namespace(value).zeros_like(value)
            for name, value in update.items()
            if name.rpartition(".")[0] in left_out
        }
