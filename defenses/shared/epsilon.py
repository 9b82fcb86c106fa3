"""The differential privacy that Gaussian noise guarantees.

B. Balle, Y.-X. Wang, "Improving the Gaussian Mechanism for Differential Privacy: Analytical Calibration and Optimal
Denoising", ICML 2018, https://arxiv.org/abs/1805.06530.
"""

import math


def gaussian_epsilon(noise: float, delta: float) -> float:
    """The least epsilon at which Gaussian noise of `noise` times the L2 sensitivity is (epsilon, delta)-DP.

    Theorem 8: ``delta = Phi(m / 2 - epsilon / m) - exp(epsilon) Phi(-m / 2 - epsilon / m)`` with m = 1 / noise. It is
    solved by bisection for ``t = epsilon / m - m / 2``, in which the second term is ``exp(-t^2 / 2) _tail(m + t)``: no
    factor of it overflows, however weak the noise is.
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
