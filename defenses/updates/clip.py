"""An update that is shortened to a greatest length.

Settings as in Z. Li, J. Zhang, L. Liu, J. Liu, "Auditing Privacy Defenses in Federated Learning via Generative Gradient
Leakage", CVPR 2022 (github.com/zhuohangli/GGL): the Euclidean length of the whole update is at most 4.

The direction stays, and with it all that a matching by cosine uses; the length is one number. A client whose updates
are averaged with those of others is bounded in its weight, which is what clipping is for.

Threat model: the aggregator of the updates; it knows the bound, which is also the length of what it sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.options import Weight

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Clip(UpdateDefense):
    """Shorten the update to a greatest length.

    Args:
        bound: Greatest Euclidean length of all numbers of the update together; 0 for none.
    """

    knob = "bound"
    plain_words = "shortens an update that is long"

    bound: Weight = 4.0

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        return clipped(update, self.bound)

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base."""
        return (lambda update: clipped(update, self.bound)) if self.on else None


def length(update: Update) -> Any:
    """The Euclidean length of all numbers of an update together; a scalar of its kind, which can be differentiated."""
    return sum(array_namespace(value).sum(value * value) for value in update.values()) ** 0.5


def clipped(update: Update, bound: float) -> dict[str, Any]:
    """The update, shortened so that its length is at most the bound; as it is where the bound is 0."""
    whole = length(update) if bound else 0.0
    if whole <= bound:
        return dict(update)
    return {name: value * (bound / whole) for name, value in update.items()}
