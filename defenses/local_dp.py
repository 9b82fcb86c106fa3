"""Local differential privacy of the smashed data: clip its norm, then add noise that is measured against the clip.

C. Dwork, A. Roth, "The Algorithmic Foundations of Differential Privacy", 2014, sections 3.3 (Laplace) and 3.5.1 (basic
composition). B. Balle, Y.-X. Wang, "Improving the Gaussian Mechanism for Differential Privacy", ICML 2018,
https://arxiv.org/abs/1805.06530, theorem 8: the exact delta of Gaussian noise, for any epsilon.

    z' = z min(1, C / ||z||) + n,   n ~ Laplace(noise * 2C) with the L1 norm,  or  N(0, (noise * 2C)^2) with the L2 norm

Two clipped vectors differ by 2C at most, so that the whole release, not each element, is epsilon-DP: Laplace has an
epsilon of 1 / noise, Gauss that at which the exact delta is `delta`. After k releases of one input Laplace has k times
its epsilon, and Gauss exactly what one release with noise / sqrt(k) has.

Of sentences each row is clipped by itself, and all of this holds for one row, the numbers that are sent for one token.
A sentence of T rows has T times the epsilon of Laplace, and exactly that of Gauss with noise / sqrt(T), for any other
sentence of as many tokens; both are reported. Behind a layer of attention a token changes all rows, so that the figure
of one row is no promise about a token. The length of a sentence is not hidden.

Threat model: a server that knows all settings and holds k releases of one input cannot tell it from any other input
better than epsilon allows. An epsilon of 10 already lets it be exp(10) times surer of one of the two, and an epsilon at
which a network with thousands of activations stays accurate is far larger: the figure is right, the guarantee is void.

Differs from ResSFL's and Titcombe's "differential privacy": vectors are truly clipped, epsilon is not that of one
element, and the textbook's sigma = sqrt(2 ln(1.25 / delta)) / epsilon, which is proven for epsilon < 1 alone, is not
used. Floating-point numbers leave a gap that is not accounted for (Mironov, CCS 2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.shared.additive import AdditiveNoise
from cutlayer.defenses.shared.aware import adapt, smashed_of, tokens_of
from cutlayer.errors import ConfigError
from cutlayer.options import Epochs, Share, Weight

if TYPE_CHECKING:
    from cutlayer.data.splits import Splits
    from cutlayer.defenses.shared.density import Density
    from cutlayer.models.halves import SplitModel

MECHANISMS = ("gaussian", "laplace")
RELEASES = (1, 4, 16, 64)
"""Numbers of releases of one input for which epsilon is reported."""


@dataclass(kw_only=True)
class LocalDP(Defense):
    """Clip the norm of each sample (of sentences, each row) and add noise; epsilon is reported, and usually large.

    Args:
        noise: Scale (Laplace) or standard deviation (Gauss) of the noise, over the sensitivity 2C.
        mechanism: ``gaussian`` or ``laplace``.
        clip: C, in the unit of the smashed data; when absent the median norm over the training inputs (as Abadi et
            al., CCS 2016, section 4, suggest), or over the rows of sentences.
        delta: Delta of the Gaussian mechanism.
        epochs: Passes over the training data for which head and tail are trained behind clip and noise.
    """

    knob = "noise"
    draws = True

    noise: Weight
    mechanism: str = "gaussian"
    clip: Weight | None = None
    delta: Share = 1e-5
    epochs: Epochs = 4

    def __post_init__(self) -> None:
        if self.mechanism not in MECHANISMS:
            raise ConfigError(f"{self!r}: mechanism must be one of {', '.join(MECHANISMS)}.")
        if min(self.noise, self.epochs) < 0 or not 0 < self.delta < 1 or (self.clip is not None and self.clip <= 0):
            raise ConfigError(f"{self!r}: noise and epochs must be 0 or more, clip positive, delta between 0 and 1.")

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.random else 0

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Fix the clip, then train head and tail behind clip and noise; behind a clip no head out-scales noise."""
        if not self.random:
            return split
        self._learned = {"per_token": np.array(True)} if split.sequence else {}
        if self.clip is None:
            sent = smashed_of(split, data.train)
            norm = float(np.median(self._norms(tokens_of(sent) if split.sequence else sent))) or 1.0
            self._learned["clip"] = np.array(norm)
        return adapt(split, self.protect, data, epochs=self.epochs, seed=seed, head_too=True)

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Clip each sample or row, then add fresh noise; without noise return the input itself."""
        if not self.random:
            return smashed
        return self._noise(self._bound()).protect(self._clipped(smashed), rng)

    def density(self, smashed: Any) -> Density | None:
        """Around the clipped smashed data."""
        return self._noise(self._bound()).density(self._clipped(smashed)) if self.random else None

    def epsilon(self, releases: int) -> float:
        """The epsilon after that many releases of what is clipped; its delta is `delta` (Gaussian) or 0 (Laplace)."""
        if self.mechanism == "laplace":
            return releases / self.noise
        return gaussian_epsilon(self.noise / math.sqrt(releases), self.delta)

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """Epsilon of one release and of several, what it is a guarantee of, and how many samples were clipped."""
        if not self.random:
            return {}
        clip, n_rows, guarantee = self._bound(), 1, "local DP of the whole release, for any two inputs"
        stated: dict[str, float | str] = {}
        if self._per_token:
            n_rows = smashed.shape[1]
            guarantee = f"local DP of a whole sentence, for any two of {n_rows} tokens, the most that are sent"
            stated = {f"epsilon_of_a_row_after_{k}": self.epsilon(k) for k in RELEASES}
            smashed = smashed[smashed.any(axis=2)]
        norms = self._norms(smashed)
        small = smashed * np.minimum(1, clip / np.maximum(norms, 1e-12)).reshape(-1, *[1] * (smashed.ndim - 1))
        return {
            **{f"epsilon_after_{k}": self.epsilon(k * n_rows) for k in RELEASES},
            **stated,
            "delta": self.delta if self.mechanism == "gaussian" else 0.0,
            "guarantee": f"{guarantee}; above 10 or so it promises little",
            "clip": clip,
            "clipped_share": float((norms > clip).mean()),
            **self._noise(clip).facts(small),
        }

    @property
    def fixed(self) -> dict[str, bool | float]:
        """What is fixed before deployment, where it is on: the clip, and whether rows of sentences are clipped."""
        return {"clip": self._bound(), "per_token": self._per_token} if self.random else {}

    @property
    def _per_token(self) -> bool:
        """Whether the rows of sentences are clipped, each by itself."""
        return bool(self._learned.get("per_token", False))

    def _noise(self, clip: float) -> AdditiveNoise:
        strength = self.noise * 2 * clip
        return GaussianNoise(sigma=strength) if self.mechanism == "gaussian" else LaplaceNoise(scale=strength)

    def _bound(self) -> float:
        if self.clip is not None:
            return self.clip
        if "clip" not in self._learned:
            raise ConfigError(f"{self!r}: the clip is measured when the model is hardened; set clip, or harden first.")
        return float(self._learned["clip"])

    def _clipped(self, smashed: Any) -> Any:
        xp, clip = array_namespace(smashed), self._bound()
        clipped = xp.reshape(smashed, (-1, smashed.shape[-1])) if self._per_token else smashed
        norms = self._norms(clipped)
        factors = clip / xp.where(norms > clip, norms, xp.full_like(norms, clip))
        clipped = clipped * xp.reshape(factors, (-1, *[1] * (clipped.ndim - 1)))
        return xp.reshape(clipped, tuple(smashed.shape))

    def _norms(self, smashed: Any) -> Any:
        """The norm of each sample that the mechanism clips, L1 or L2: ``(N, ...)`` -> ``(N,)``."""
        xp = array_namespace(smashed)
        flat = xp.reshape(smashed, (smashed.shape[0], -1))
        if self.mechanism == "laplace":
            return xp.sum(xp.abs(flat), axis=1)
        return xp.sqrt(xp.sum(flat * flat, axis=1) + 1e-24)  # at 0 the root has no gradient


def gaussian_epsilon(noise: float, delta: float) -> float:
    """The least epsilon at which Gaussian noise of `noise` times the L2 sensitivity is (epsilon, delta)-DP.

    Balle and Wang, theorem 8: ``delta = Phi(m / 2 - epsilon / m) - exp(epsilon) Phi(-m / 2 - epsilon / m)`` with
    m = 1 / noise. It is solved by bisection for ``t = epsilon / m - m / 2``, in which the second term is
    ``exp(-t^2 / 2) _tail(m + t)``: no factor of it overflows, however weak the noise is.
    """
    m = 1 / noise

    def exceeds(t: float) -> bool:
        return math.erfc(t / math.sqrt(2)) / 2 - math.exp(-t * t / 2) * _tail(m + t) > delta

    # At `high` the first term alone is at most delta, by the bound Phi(-t) <= exp(-t^2 / 2).
    low, high = -m / 2, math.sqrt(2 * math.log(1 / delta))
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return m * (high + m / 2)


def _tail(a: float) -> float:
    """``exp(a^2 / 2) Phi(-a)`` for a > 0; where a is large by its asymptotic series."""
    if a < 25:
        return math.exp(a * a / 2) * math.erfc(a / math.sqrt(2)) / 2
    return (1 - 1 / a**2 + 3 / a**4) / (a * math.sqrt(2 * math.pi))
