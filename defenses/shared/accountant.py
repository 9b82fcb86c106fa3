"""The privacy loss of noise that is added again and again, for differential privacy.

A step adds Gaussian noise to a sum over some of the units (records, clients), each of which moves it by a bounded
length; the loss grows with the steps. I. Mironov, K. Talwar, L. Zhang, "Rényi Differential Privacy of the Sampled
Gaussian Mechanism", 2019, §3.3, for whole orders; B. Balle, G. Barthe, M. Gaboardi, J. Hsu, T. Sato, AISTATS 2020,
theorem 21, from there to epsilon.
"""

from __future__ import annotations

import math

WHOLE = range(2, 257)
FRACTIONS = [1 + k / 100 for k in range(1, 1000) if k % 100]
"""Orders at which the divergence is looked at; without sampling it is known between whole ones, too."""


def epsilon(noise: float, share: float, steps: int, delta: float) -> float:
    """The epsilon for one unit added or removed, where each takes part in a step with the same probability.

    Args:
        noise: Deviation of the noise over the greatest length that a unit adds to the sum.
        share: That probability; 1 where all take part in every step.
        steps: Number of steps.
        delta: Probability with which epsilon does not hold.
    """
    if not noise:
        return math.inf
    orders = [*WHOLE, *FRACTIONS] if share >= 1 else WHOLE
    return max(
        0.0,
        min(
            steps * _renyi(share, noise, order)
            + math.log1p(-1 / order)
            - (math.log(delta) + math.log(order)) / (order - 1)
            for order in orders
        ),
    )


def _renyi(share: float, noise: float, order: float) -> float:
    """The Rényi divergence of one step, in nats."""
    if share >= 1:
        return order / (2 * noise**2)
    order = int(order)
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-share)
        + k * math.log(share)
        + (k * k - k) / (2 * noise**2)
        for k in range(order + 1)
    ]
    most = max(terms)
    return (most + math.log(sum(math.exp(term - most) for term in terms))) / (order - 1)
