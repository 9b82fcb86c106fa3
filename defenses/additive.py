"""What defenses that add noise to each release have in common.

`protect` is written once against the array API: numpy on the device, torch in an attacker's hands. Every draw comes
from the numpy generator, so that both add the same noise.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from cutlayer.errors import ConfigError
from defenses.base import Defense

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.data.splits import Splits
    from cutlayer.models.split import SplitModel


class AdditiveNoise(Defense):
    """Independent noise on every element of every release. A subclass names its strength and draws it."""

    def __init__(self, noise_aware_epochs: int) -> None:
        self.noise_aware_epochs = noise_aware_epochs
        if not 0 <= self.strength < float("inf"):
            raise ConfigError(f"{self!r}: the strength of the noise must be 0 or more, and finite.")
        if noise_aware_epochs < 0:
            raise ConfigError(f"{self!r}: noise_aware_epochs must be 0 or more.")

    @property
    def strength(self) -> float:
        """What a draw is multiplied by, in the unit of the smashed data."""
        raise NotImplementedError(f"{type(self).__name__} lacks strength")

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Noise of strength 1."""
        raise NotImplementedError(f"{type(self).__name__} lacks draw()")

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Except at strength 0."""
        return self.strength > 0

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Add fresh noise; at strength 0 the input itself comes back."""
        if not self.random:
            return smashed
        xp = array_namespace(smashed)
        noise = self.draw(tuple(smashed.shape), rng) * np.float32(self.strength)
        return smashed + xp.asarray(noise, dtype=smashed.dtype, device=device(smashed))

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Let a copy of the tail get used to the noise, behind the head as it is."""
        if self.noise_aware_epochs == 0:
            return split
        import torch

        from cutlayer.compute import pick_device, placed
        from cutlayer.training import train

        tail, fastest = copy.deepcopy(split.tail), pick_device()

        def forward(images: Tensor, rng: np.random.Generator) -> Tensor:
            with torch.no_grad():
                smashed = split.head(images).float()
            logits: Tensor = tail(self.protect(smashed, rng))
            return logits

        with placed(fastest, split.head):
            train(tail, data.train, epochs=self.noise_aware_epochs, seed=seed, forward=forward, device=fastest)
        return replace(split, tail=tail)
