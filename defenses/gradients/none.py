"""No defense: the gradient goes back as it is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cutlayer.defenses.gradients.base import GradientDefense


@dataclass(kw_only=True)
class Unprotected(GradientDefense):
    """Leave the gradient as it is."""

    knob = ""
    plain_words = "changes nothing"

    def protect_rows(self, rows: Any, labels: Any, rng: np.random.Generator) -> Any:
        """See the base."""
        return rows
