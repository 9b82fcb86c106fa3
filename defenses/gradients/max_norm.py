"""Noise along each gradient, which makes all of them as long as the longest of the batch, in the mean square.

O. Li et al., "Label Leakage and Protection in Two-party Split Learning", ICLR 2022, §4.1, ``max_norm``:
``g_j <- g_j * (1 + s_j xi_j)``, ``xi_j ~ N(0, 1)`` one number for each sample, and
``s_j = sqrt(max_i |g_i|^2 / |g_j|^2 - 1)``, so that ``E |g_j|^2`` is equal for all samples of the batch. The noise is
parallel to the gradient: it hides the length, and in part the sign of the direction. The longest gradient stays as it
is. Some released code adds a vector of noise, or takes the maximum over parties; both are something else.

Threat model: the party that sent the smashed data reads its gradients and looks for the labels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from cutlayer.defenses.gradients.base import GradientDefense, norms
from cutlayer.defenses.shared.draws import normal
from cutlayer.options import Weight


@dataclass(kw_only=True)
class MaxNorm(GradientDefense):
    """Multiply each gradient by a random number, whose spread makes all gradients equally long in the mean square.

    Args:
        ratio: Factor of the noise; 1 is that of the paper.
    """

    knob = "ratio"
    plain_words = "stretches each gradient at random, so that all are equally long on average"

    ratio: Weight = 1.0

    def protect_rows(self, rows: Any, labels: Any, rng: np.random.Generator) -> Any:
        """See the base."""
        xp = array_namespace(rows)
        length = norms(rows)
        # A row of zeros has no direction along which noise could be added.
        share = xp.where(length > 0, xp.max(length) / xp.where(length > 0, length, 1.0), 1.0)
        return rows * (1 + self.ratio * (share * share - 1) ** 0.5 * normal(length, rng))
