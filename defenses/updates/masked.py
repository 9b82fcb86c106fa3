"""Base of the defenses that send zeros in place of some numbers of an update.

The zeros say which numbers are missing. Whoever sets the same numbers of an update of his own making to zero compares
like with like, and a mask then hides no more than what it removes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Masked(UpdateDefense):
    """Base of the defenses that multiply an update by a mask of zeros and ones."""

    @abstractmethod
    def masks(self, update: Update, rng: np.random.Generator, local: Local | None) -> Update:
        """Zeros and ones of the kind and shape of the update; a parameter that is not named is sent whole."""

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        masks = self.masks(update, rng, local)
        return {name: value * masks[name] if name in masks else value for name, value in update.items()}

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base; the mask is read from the zeros of `sent`."""
        return masking(sent) if self.on else None


def masking(sent: Mapping[str, Tensor]) -> Twin:
    """The map that sets to zero what is zero in an observed update; parameters that `sent` lacks stay."""
    masks = {name: (value != 0).to(value.dtype) for name, value in sent.items()}

    def masked(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value * masks[name] if name in masks else value for name, value in update.items()}

    return masked


def by_magnitude(value: Any, smallest: float, largest: float = 0.0) -> Any:
    """The mask without the smallest and the largest numbers of one tensor.

    Args:
        value: The tensor.
        smallest: Share of its numbers, those of the least magnitude, that are zero in the mask, rounded down.
        largest: The same for the greatest magnitude.
    """
    xp = array_namespace(value)
    order = xp.argsort(xp.abs(xp.reshape(value, (-1,))), stable=True)
    n = len(order)
    mask = xp.ones_like(order, dtype=value.dtype)
    mask[order[: int(smallest * n)]] = 0
    mask[order[n - int(largest * n) :]] = 0
    return xp.reshape(mask, value.shape)
