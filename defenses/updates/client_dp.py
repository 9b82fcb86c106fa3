"""Client-level differential privacy: the whole update of a client is clipped, and Gaussian noise is added.

H. B. McMahan, D. Ramage, K. Talwar, L. Zhang, "Learning Differentially Private Recurrent Language Models", ICLR 2018,
with the noise at the client and not at the server, which is not trusted here. One client in or out of a round moves
the sum by the bound at most, so that epsilon is for everything that a client holds. Accountant:
`cutlayer.defenses.shared.accountant`.

Against a server that sees single updates this is local differential privacy of a vector with as many numbers as the
model has: at noise that leaves the model useful, epsilon is in the hundreds. Where the server sees only the sum of K
clients (`secure-aggregation`), the noise of all of them counts, the root of K times as much.

Not covered: the number of samples by which a client is weighted, what it measures, statistics of batch normalization
that are not in the update, and in split learning the smashed data, which go up for every sample and step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.shared import accountant
from cutlayer.defenses.shared.draws import normal
from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.defenses.updates.clip import clipped
from cutlayer.options import Weight

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class ClientDP(UpdateDefense):
    """Clip the whole update of a client, and add noise of a deviation that follows from the bound.

    Args:
        bound: Greatest Euclidean length of the update, to which it is shortened; 0 for neither clipping nor noise.
        noise: Standard deviation of the noise over `bound`.
    """

    knob = "bound"
    plain_words = "shortens the update and adds noise, so that it tells little about everything that its client holds"

    bound: Weight = 1.0
    noise: Weight = 1.0

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        short, sigma = clipped(update, self.bound), self.bound * self.noise
        return {name: value + sigma * normal(value, rng) for name, value in short.items()}

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base; the noise, whose mean is 0, is left out."""
        return (lambda update: clipped(update, self.bound)) if self.on else None

    def epsilon(self, releases: int, delta: float, among: int = 1) -> float:
        """The epsilon of one client, all of whose samples are added or removed.

        Args:
            releases: Number of updates that the client sends.
            delta: Probability with which epsilon does not hold.
            among: Number of clients of equal weight of whose updates the sum alone is seen.
        """
        return accountant.epsilon(self.noise * among**0.5 if self.on else 0.0, 1.0, releases, delta)
