"""Quantization of an update, with as many bits in each layer as a plan says.

P. R. Ovi, E. Dey, N. Roy, A. Gangopadhyay, "Mixed Quantization Enabled Federated Learning to Tackle Gradient Inversion
Attacks", CVPR Workshops 2023, has layers at different numbers of bits. Each parameter has levels ``-L ... L`` times
``max|g| / L``, L = 2^(bits - 1) - 1: 8 bits, 4 bits, or 2 bits for -1, 0 and 1 (ternary; stochastic, that is W. Wen et
al., "TernGrad", NeurIPS 2017). One bit is the sign times the mean magnitude (stochastic: times the greatest), as in F.
Seide et al., "1-Bit Stochastic Gradient Descent", Interspeech 2014.

Differs from the papers: of Ovi et al. the choice of the bits is not known, and is the user's; no error feedback.

Threat model: the aggregator of the updates; it knows the bits and sees the levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.shared.draws import uniform
from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.options import Within

if TYPE_CHECKING:
    from torch import Tensor

ROUNDINGS = ("nearest", "stochastic")


@dataclass(kw_only=True)
class Quantize(UpdateDefense):
    """Round the numbers of each layer to few levels.

    Args:
        bits: Bits of each number: 8, 4, 2 for three levels, 1 for the sign; 0 for all as they are.
        mixed: Bits of each parameter in the order of the model, where they differ; the last ones stand for the rest.
            Empty for `bits` everywhere.
        rounding: To the ``nearest`` level, or ``stochastic``: to one of the two levels beside, so that the mean stays.
    """

    knob = "bits"
    plain_words = "rounds the numbers of the update to few levels"

    bits: Annotated[int, Within(0, 16)] = 8
    mixed: Annotated[tuple[int, ...], Within(1, 16)] = ()
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise ConfigError(f"quantize.rounding must be {' or '.join(ROUNDINGS)}; {self.rounding!r:.80} was given.")

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """See the base."""
        stochastic = self.rounding == "stochastic"
        return {
            name: rounded(value, bits, rng if stochastic else None)
            for (name, value), bits in zip(update.items(), self._each(len(update)), strict=True)
        }

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base; rounding, which has no gradient, is taken for the identity in it."""
        if not self.on:
            return None

        def straight_through(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
            bits = self._each(len(update))
            found = {}
            for (name, value), of in zip(update.items(), bits, strict=True):
                plain = value.detach()
                drawn = rng if self.rounding == "stochastic" else None
                found[name] = value + (rounded(plain, of, drawn) - plain)
            return found

        return straight_through

    def _each(self, n: int) -> list[int]:
        """The bits of each of n parameters."""
        known = [*self.mixed[:n]] or [self.bits]
        return known + [known[-1]] * (n - len(known))


def rounded(value: Any, bits: int, rng: np.random.Generator | None) -> Any:
    """One parameter at so many bits: to the nearest level, or at random with a generator."""
    xp = array_namespace(value)
    size = xp.abs(value)
    top = xp.max(size)
    if bits == 1:
        if rng is None:
            return xp.sign(value) * xp.mean(size)
        up = xp.astype(uniform(value, rng) * (2 * top) < value + top, value.dtype)
        return (2 * up - 1) * top
    levels = 2 ** (bits - 1) - 1
    scaled = value / xp.where(top > 0, top, 1.0) * levels
    whole = xp.round(scaled) if rng is None else xp.floor(scaled + uniform(value, rng))
    return xp.clip(whole, -levels, levels) * (top / levels)
