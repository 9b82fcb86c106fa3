"""Quantization: what leaves the device takes only a few evenly spaced values.

As a privacy baseline in T. Hoefler, D. Mueller, W. Samek, "A Privacy Study of Sparse Collaborative Inference" (dense, 4
bit); stochastic rounding is unbiased, ``E[v'] = v``.

Threat model: an honest-but-curious server that trains on what arrives. A few bits are enough for a decoder, so this is
compression first (the codecs `int8` and `int4` save the bytes); with stochastic rounding k releases average to nearly
the unrounded data.

The levels of a sample are spaced evenly from its least element to its greatest, so that a release does not depend on
what else is in the batch. An attacker's gradients pass straight through the rounding (Bengio et al., arXiv:1308.3432).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from array_api_compat import array_namespace

from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.aware import adapt
from cutlayer.defenses.shared.draws import uniform
from cutlayer.errors import ConfigError
from cutlayer.options import Epochs, Within

if TYPE_CHECKING:
    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel

ROUNDINGS = ("nearest", "stochastic")


@dataclass(kw_only=True)
class Quantize(Defense):
    """Round each sample to ``2^bits`` evenly spaced values between its extremes.

    Args:
        bits: Bits for each element, at most 16; 0 leaves the data as it is.
        rounding: ``nearest``, or ``stochastic``: up with the probability that makes the mean right.
        epochs: Passes over the training data for which the tail is trained behind the rounding.
    """

    knob = "bits"

    bits: Annotated[int, Within(0, 16)] = 2
    rounding: str = "nearest"
    epochs: Epochs = 0

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= 16 or self.epochs < 0:
            raise ConfigError(f"{self!r}: bits must be between 0 and 16, and epochs 0 or more.")
        if self.rounding not in ROUNDINGS:
            raise ConfigError(f"{self!r}: rounding must be one of {', '.join(ROUNDINGS)}.")

    @property
    def random(self) -> bool:
        """Whether the rounding is stochastic."""
        return self.bits > 0 and self.rounding == "stochastic"

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.bits else 0

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Train a copy of the tail behind the rounding; the head stays as it is."""
        return adapt(split, self.protect, data, epochs=self.epochs if self.bits else 0, seed=seed)

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Round; at 0 bits return the input itself."""
        if self.bits == 0:
            return smashed
        xp = array_namespace(smashed)
        flat = xp.reshape(smashed, (smashed.shape[0], -1))
        low = xp.min(flat, axis=1, keepdims=True)
        step = (xp.max(flat, axis=1, keepdims=True) - low) / (2**self.bits - 1)
        step = xp.where(step > 0, step, xp.ones_like(step))  # a sample whose elements are all equal is its own level
        levels = (flat - low) / step
        if self.random:
            levels = xp.floor(levels + xp.astype(uniform(levels, rng), levels.dtype))
            levels = xp.minimum(levels, xp.full_like(levels, 2**self.bits - 1))
        else:
            levels = xp.round(levels)
        rounded = xp.reshape(low + levels * step, tuple(smashed.shape))
        if getattr(smashed, "requires_grad", False):
            return smashed + (rounded - smashed).detach()
        return rounded
