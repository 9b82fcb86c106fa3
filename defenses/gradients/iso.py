"""Isotropic noise on the gradient at the cut.

O. Li, J. Sun, X. Yang, W. Gao, H. Zhang, J. Xie, V. Smith, C. Wang, "Label Leakage and Protection in Two-party Split
Learning", ICLR 2022, the baseline ``iso``: each row of the gradient gets noise of the law
``N(0, (ratio * max_j |g_j|)^2 / D)`` in each of its D numbers, so that the expected length of the noise is ``ratio``
times that of the longest row of the batch. Settings as in github.com/OscarcarLi/label-protection @9f371c5.

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
class Iso(GradientDefense):
    """Add Gaussian noise as long as the longest gradient of the batch, in all directions alike.

    Args:
        ratio: Length of the noise over that of the longest gradient of the batch.
    """

    knob = "ratio"
    plain_words = "adds noise of one strength to all gradients"

    ratio: Weight = 1.0

    def protect_rows(self, rows: Any, labels: Any, rng: np.random.Generator) -> Any:
        """See the base."""
        xp = array_namespace(rows)
        return rows + normal(rows, rng) * (self.ratio * xp.max(norms(rows)) / rows.shape[1] ** 0.5)
