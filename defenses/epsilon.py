"""What Gaussian noise guarantees, in the language of differential privacy.

B. Balle, Y.-X. Wang, "Improving the Gaussian Mechanism for Differential Privacy: Analytical Calibration and Optimal
Denoising", ICML 2018, https://arxiv.org/abs/1805.06530.
"""

import math


def gaussian_epsilon(noise: float, delta: float) -> float:
    """The least epsilon at which Gaussian noise of `noise` times the L2 sensitivity is (epsilon, delta)-DP.

    Theorem 8, solved by bisection, with m = 1 / noise:
    ``delta = Phi(m / 2 - epsilon / m) - exp(epsilon) Phi(-m / 2 - epsilon / m)``.
    """
    m = 1 / noise

    def exceeds(epsilon: float) -> bool:
        second = epsilon + _log_phi(-m / 2 - epsilon / m)
        return math.exp(_log_phi(m / 2 - epsilon / m)) - math.exp(second) > delta

    # At `high` the first term alone is at most delta, by the bound Phi(-t) <= exp(-t^2 / 2).
    low, high = 0.0, m * m / 2 + m * math.sqrt(2 * math.log(1 / delta))
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return high


def _log_phi(x: float) -> float:
    """Logarithm of the normal distribution function; where that is tiny, by its asymptotic series."""
    if x > -30:
        return math.log(math.erfc(-x / math.sqrt(2)) / 2)
    return -x * x / 2 - math.log(-x * math.sqrt(2 * math.pi)) + math.log1p(-1 / x**2 + 3 / x**4)
