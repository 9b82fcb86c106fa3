"""Top-k: only the greatest activations of each sample leave the device, the others as 0.

T. Hoefler, D. Mueller, W. Samek, "A Privacy Study of Sparse Collaborative Inference" (global top-k of each sample, 5 %
kept); as a defense in Z. Li et al., "ResSFL", CVPR 2022, Table 4 (sparsity 0.5, 0.6, 0.7).

Threat model: an honest-but-curious server that trains on what arrives. Positions alone tell it nearly as much as
positions and values (the study's Table 2), so this is compression first; the codec `top-k` saves the bytes.

Differs from ResSFL's code: it is per sample and by magnitude, not over the whole batch by signed value. Optionally the
tail is trained behind it (`epochs`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.aware import adapt
from cutlayer.errors import ConfigError
from cutlayer.options import Epochs, Share

if TYPE_CHECKING:
    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel


@dataclass(kw_only=True)
class TopK(Defense):
    """Keep the elements of each sample that are greatest by magnitude, as they are.

    Args:
        sparsity: Share of a sample's elements that becomes 0, in [0, 1); rounded down to a whole number of elements. Of
            equal elements the first stay.
        epochs: Passes over the training data for which the tail is trained behind the zeros.
    """

    sends_zeros = True
    knob = "sparsity"

    sparsity: Share = 0.95
    epochs: Epochs = 0

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1 or self.epochs < 0:
            raise ConfigError(f"{self!r}: sparsity must be at least 0 and less than 1, and epochs 0 or more.")

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.sparsity else 0

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Train a copy of the tail behind the zeros; the head stays as it is."""
        return adapt(split, self.protect, data, epochs=self.epochs if self.sparsity else 0, seed=seed)

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Set the smaller elements to 0; at sparsity 0 return the input itself."""
        xp = array_namespace(smashed)
        flat = xp.reshape(smashed, (smashed.shape[0], -1))
        # 0.57 of 100 is 57, although floating point gives 56.99999999999999.
        zeros = int(self.sparsity * flat.shape[1] + 1e-6)
        if zeros == 0:
            return smashed
        size = xp.abs(flat)
        least = xp.sort(size, axis=1)[:, zeros : zeros + 1]
        greater, equal = size > least, xp.astype(size == least, xp.int32)
        room = flat.shape[1] - zeros - xp.sum(xp.astype(greater, xp.int32), axis=1, keepdims=True)
        stays = greater | ((equal > 0) & (xp.cumulative_sum(equal, axis=1) <= room))
        return xp.reshape(xp.where(stays, flat, xp.zeros_like(flat)), tuple(smashed.shape))
