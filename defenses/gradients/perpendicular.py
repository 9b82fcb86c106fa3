"""Noise perpendicular to each gradient, which makes all of them equally long.

A baseline in the code of O. Li et al., "Label Leakage and Protection in Two-party Split Learning", ICLR 2022
(github.com/OscarcarLi/label-protection @9f371c5): with a target length ``t = u * max_j |g_j|``, ``u ~ U[1, most]``,
row j gets noise in a random direction perpendicular to g_j, of length ``sqrt(t^2 - |g_j|^2)``. The length of a row
then says nothing, while the component along g_j stays as it is.

Differs from their code: one `u` is drawn for a batch, so that the lengths within a batch are equal.

Threat model: the party that sent the smashed data reads its gradients and looks for the labels.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from array_api_compat import array_namespace

from cutlayer.defenses.gradients.base import GradientDefense, norms
from cutlayer.defenses.shared.draws import normal
from cutlayer.errors import ConfigError
from cutlayer.options import Within


@dataclass(kw_only=True)
class Perpendicular(GradientDefense):
    """Add noise perpendicular to each gradient, so that all rows of a batch get one length.

    Args:
        most: The greatest common length over that of the longest gradient; 1 or more, and 0 turns the defense off.
    """

    knob = "most"
    plain_words = "adds noise across each gradient, so that all are equally long"

    most: Annotated[float, Within(0, 1e9)] = 10.0

    def __post_init__(self) -> None:
        if 0 < self.most < 1:
            raise ConfigError(f"{self!r}: most must be 1 or more, for no gradient gets shorter; 0 turns it off.")

    def protect_rows(self, rows: Any, labels: Any, rng: np.random.Generator) -> Any:
        """See the base."""
        xp = array_namespace(rows)
        length = norms(rows)
        target = float(rng.uniform(1, self.most)) * xp.max(length)
        drawn = normal(rows, rng)
        along = xp.sum(drawn * rows, axis=1, keepdims=True) / xp.where(length > 0, length * length, 1.0)
        across = drawn - along * rows
        size = norms(across)
        missing = xp.clip(target * target - length * length, 0.0, None) ** 0.5
        return rows + across * (missing / xp.where(size > 0, size, 1.0))
