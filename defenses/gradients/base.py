"""Base of the defenses of the labels: they change the gradient at the cut before it goes back to who sent the data.

In split learning the gradient of the loss with respect to the smashed data tells a sample's label: in a binary task
``dL/dv_i = (p_i - y_i) dz_i/dv_i / B``, whose length is great for the rare class and whose direction changes sign with
the label. The holder of the labels, a server or the device of a U-shaped split, protects the gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace


@dataclass(kw_only=True)
class GradientDefense(ABC):
    """Base of the defenses of the gradient at the cut; a subclass is a dataclass whose fields are its options."""

    knob: ClassVar[str]
    """Name of the option that says how strong the defense is; at 0 the gradient stays as it is, bit for bit.

    Empty for one that does nothing.
    """

    plain_words: ClassVar[str]
    """What the defense does, for a reader who does not know the field: a clause that begins with a verb."""

    def protect_cut_gradient(self, gradient: Any, labels: Any, rng: np.random.Generator) -> Any:
        """Change the gradient of one batch.

        Args:
            gradient: ``(B, *smashed.shape)`` float32, one row for each sample; a numpy array or a torch tensor, and
                the same kind comes back. It is not changed in place.
            labels: ``(B,)`` whole numbers of the same kind: the classes of the samples.
            rng: Source of every random draw.
        """
        if not (self.knob and getattr(self, self.knob) and len(gradient)):
            return gradient
        xp = array_namespace(gradient)
        protected = self.protect_rows(xp.reshape(gradient, (len(gradient), -1)), labels, rng)
        return xp.reshape(protected, gradient.shape)

    @abstractmethod
    def protect_rows(self, rows: Any, labels: Any, rng: np.random.Generator) -> Any:
        """Change the gradient of a batch, ``(B, D)``."""


def norms(rows: Any) -> Any:
    """The L2 norm of each row, ``(B, D)`` -> ``(B, 1)``."""
    xp = array_namespace(rows)
    return xp.sum(rows * rows, axis=1, keepdims=True) ** 0.5
