"""The code that defenses share which add noise to each release.

`protect` is written once against the array API: numpy on the device, torch in an attacker's hands; see
`cutlayer.defenses.shared.draws`.

Noise of a fixed strength hides little from a network that is trained behind it: the head learns to make what it sends
large. So the head is trained behind noise only where a layer bounds what it gives (`bound`): the smashed data is
divided by a fixed scale, twice its root mean square in the trained model, and passed through tanh, sigmoid or a clip;
the tail begins with the line that undoes this near 0, so that both halves start close to the trained model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.aware import adapt, smashed_of, snr_db
from cutlayer.defenses.shared.density import Density
from cutlayer.errors import ConfigError
from cutlayer.options import Epochs

if TYPE_CHECKING:
    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel

NONE = "none"
BOUNDS = (NONE, "tanh", "sigmoid", "clip")


class AdditiveNoise(Defense):
    """Independent noise on every element of every release. A subclass has its strength as `knob`, and draws it.

    Args:
        noise_aware_epochs: Epochs for which the tail is trained behind the noise, before deployment; and the head too
            where it is bounded.
        bound: ``none``, or ``tanh``, ``sigmoid`` or ``clip``: keep what the head gives within [-1, 1], [0, 1] or
            [-1, 1], so that it cannot out-scale the noise.
    """

    noise_aware_epochs: Epochs
    bound: str

    draws = True
    unit_variance: ClassVar[float]
    """Variance of a draw of strength 1."""
    family: ClassVar[Literal["gaussian", "laplace"]]
    """Kind of the density of a draw, whose scale is the strength."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise ConfigError(f"{self!r}: the strength of the noise must be 0 or more, and finite.")
        if self.noise_aware_epochs < 0:
            raise ConfigError(f"{self!r}: noise_aware_epochs must be 0 or more.")
        if self.bound not in BOUNDS:
            raise ConfigError(f"{self!r}: bound must be one of {', '.join(BOUNDS)}.")

    @property
    def strength(self) -> float:
        """The factor of a draw: in the unit of the smashed data, of which bounded data reaches 1 at most."""
        return float(getattr(self, self.knob))

    def draw(self, like: Any, rng: np.random.Generator) -> Any:
        """Noise of strength 1, float32, of the shape and on the device of an array."""
        raise NotImplementedError(f"{type(self).__name__} lacks draw()")

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Add fresh noise; at strength 0 the input itself comes back."""
        if not self.random:
            return smashed
        noise = self.draw(smashed, rng) * self.strength
        return smashed + array_namespace(smashed).astype(noise, smashed.dtype)

    def density(self, smashed: Any) -> Density | None:
        """Around the smashed data itself; the bound is part of the head."""
        return Density(self.family, smashed, self.strength) if self.random else None

    @property
    def bounded(self) -> bool:
        """Whether the head gets a bound; not at strength 0, which is the undefended model."""
        return self.random and self.bound != NONE

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.noise_aware_epochs if self.random else 0

    def surgery(self, split: SplitModel) -> SplitModel:
        """The bound at the end of the head, and the layer that undoes it at the start of the tail."""
        if not self.bounded:
            return split
        from cutlayer.models import bounds
        from cutlayer.models.halves import graft

        if split.sequence and self.bound == "sigmoid":
            raise ConfigError(
                f"{self!r}: for sentences bound must be tanh or clip, because sigmoid is not 0 at 0, and a row of zeros"
                " is no token."
            )
        if hasattr(split.head, "bound"):
            raise ConfigError(
                f"{self!r} follows a defense that bounds the smashed data already; set its bound to 'none'."
            )
        scaled = graft(split, "scale", to_head=bounds.Affine(), to_tail=bounds.Affine())
        return graft(scaled, "bound", to_head=bounds.BOUNDS[self.bound]())

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Bound the head, if `bound` says so; train the tail behind the noise, and the head too where it is bounded."""
        if not self.random:
            return split
        if self.bounded:
            scale = 2 * float(np.sqrt(np.square(smashed_of(split, data.train), dtype=np.float64).mean())) or 1.0
            split = self.surgery(split)
            self._set_scale(split, scale)
        return adapt(split, self.protect, data, epochs=self.noise_aware_epochs, seed=seed, head_too=self.bounded)

    def _set_scale(self, split: SplitModel, scale: float) -> None:
        from cutlayer.models.bounds import TANGENTS, Affine

        at_head, at_tail = split.head.get_submodule("scale"), split.tail.get_submodule("scale")
        assert isinstance(at_head, Affine)
        assert isinstance(at_tail, Affine)
        factor, offset = TANGENTS[self.bound]
        at_head.set(1 / scale)
        at_tail.set(factor * scale, offset * scale)

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """The signal-to-noise ratio of one release, in dB."""
        return snr_db(smashed, self.strength**2 * self.unit_variance)
