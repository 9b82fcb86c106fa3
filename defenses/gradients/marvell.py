"""Marvell: Gaussian noise, of one covariance for each class, that makes two classes hard to tell apart.

O. Li et al., "Label Leakage and Protection in Two-party Split Learning", ICLR 2022, §4.2 and theorem 2. The gradients
of the two classes of a batch are taken for normal, ``N(m_1, u I)`` and ``N(m_0, v I)``. Noise of covariances S_1, S_0
minimizes ``sumKL = KL(P_1 || P_0) + KL(P_0 || P_1)`` of the noisy gradients under a bound on its mean power,
``p tr S_1 + (1 - p) tr S_0 <= P`` with p the share of the positives, ``P = power * |m_1 - m_0|^2``. S_1 and S_0 have
one variance along ``m_1 - m_0`` and one across it. Where ``sumKL <= (2 - 4 e)^2``, whoever guesses a label from one
gradient has error rates on both classes whose mean is e or more.

Differs from the authors' code (github.com/OscarcarLi/label-protection @9f371c5): the four variances come from a search
on a grid that is refined, and not from an iteration; a batch of one class is left as it is, as there is no second class
from which to hide the first.

Threat model: the party that sent the smashed data reads its gradients and looks for the labels, of two classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.gradients.base import GradientDefense
from cutlayer.defenses.shared.draws import normal
from cutlayer.errors import ConfigError
from cutlayer.options import Weight

_GRID, _REFINEMENTS = 33, 6
_TINY = 1e-30


class Noise(NamedTuple):
    """Variances of the noise of one class: along the difference of the means, and in each direction across it."""

    along: float
    across: float


@dataclass(kw_only=True)
class Marvell(GradientDefense):
    """Add noise along the difference of the two classes' mean gradients, as strong as a bound on its power allows.

    Args:
        power: Mean squared length of the noise over the squared distance of the two means; the paper tries 0.1 to 25.
    """

    knob = "power"
    plain_words = "adds the noise that best hides which of two classes a gradient belongs to"

    power: Weight = 10.0

    def protect_rows(self, rows: Any, labels: Any, rng: np.random.Generator) -> Any:
        """See the base."""
        xp = array_namespace(rows)
        if bool(xp.any((labels < 0) | (labels > 1))):
            raise ConfigError(f"{self!r} hides which of two classes, 0 and 1, a sample has; the labels are of others.")
        positive = labels == 1
        ones, zeros = rows[positive], rows[~positive]
        if not len(ones) or not len(zeros):
            return rows
        gap = xp.mean(ones, axis=0) - xp.mean(zeros, axis=0)
        squared = float(xp.sum(gap * gap))
        if not squared:
            return rows
        share, d = len(ones) / len(rows), rows.shape[1]
        pair = balanced(squared, _variance(ones), _variance(zeros), d, share, self.power * squared)
        mask = xp.astype(positive[:, None], rows.dtype)
        along, across = (mask * one**0.5 + (1 - mask) * zero**0.5 for one, zero in zip(*pair, strict=True))
        drawn, axis = normal(rows, rng), gap / squared**0.5
        component = xp.sum(drawn * axis, axis=1, keepdims=True)
        return rows + across * (drawn - component * axis) + along * component * axis


def sum_kl(squared_gap: float, first: NDArray[Any], second: NDArray[Any], d: int) -> Any:
    """The sum of both Kullback-Leibler divergences of two normal laws in `d` dimensions, in nats.

    Args:
        squared_gap: Squared distance of the means.
        first: Variances of one law along the difference of the means and across it, ``(2, ...)``.
        second: Those of the other one.
        d: Number of dimensions.
    """
    (a, b), (e, f) = first, second
    ratio = a / e + e / a + (d - 1) * (b / f + f / b)
    return (ratio + squared_gap * (1 / a + 1 / e)) / 2 - d


def balanced(squared_gap: float, u: float, v: float, d: int, share: float, power: float) -> tuple[Noise, Noise]:
    """The noise of the first and of the second class that minimizes `sum_kl` under a bound on its power.

    Across the difference of the means only the class of the smaller variance gets noise, up to the variance of the
    other one: more would cost power and hide nothing. The rest goes along the difference, to both.

    Args:
        squared_gap: Squared distance of the means of the gradients.
        u: Variance of the first class in each direction.
        v: That of the second.
        d: Number of dimensions.
        share: Share of the first class among the samples.
        power: The bound: mean squared length of the noise.
    """
    first_is_low = u < v
    low = share if first_is_low else 1 - share
    cost = low * (d - 1) * abs(u - v)
    most = min(1.0, power / cost) if cost else 0.0
    u, v = max(u, squared_gap * _TINY), max(v, squared_gap * _TINY)

    def noise(raised: NDArray[Any], part: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        across = raised * abs(u - v)
        rest = np.maximum(power - raised * cost, 0)
        nothing = np.zeros_like(across)
        across_pair = (across, nothing) if first_is_low else (nothing, across)
        return part * rest / share, across_pair[0], (1 - part) * rest / (1 - share), across_pair[1]

    center, width = np.array([most / 2, 0.5]), np.array([most / 2, 0.5])
    limits = np.array([most, 1.0])
    for _ in range(_REFINEMENTS):
        axes = [np.linspace(max(0, c - w), min(m, c + w), _GRID) for c, w, m in zip(center, width, limits, strict=True)]
        raised, part = np.meshgrid(*axes, indexing="ij")
        a, b, e, f = noise(raised, part)
        value = sum_kl(squared_gap, np.stack([a + u, b + u]), np.stack([e + v, f + v]), d)
        best = np.unravel_index(np.argmin(value), value.shape)
        center, width = np.array([raised[best], part[best]]), width / 8
    along, across, along_other, across_other = (float(of) for of in noise(center[0], center[1]))
    return Noise(along, across), Noise(along_other, across_other)


def _variance(rows: Any) -> float:
    """The mean variance of the numbers of a class's gradients."""
    xp = array_namespace(rows)
    apart = rows - xp.mean(rows, axis=0)
    return float(xp.mean(apart * apart))
