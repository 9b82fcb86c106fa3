"""Ways to compare what arrived with the releases of a candidate, for an attacker who looks for the candidate sent.

Each way has two steps, so that the candidates can come in parts: `observe` takes what arrived, ``(n, N, D)``, n
releases of each input; `score` takes that and K releases of each of M candidates, ``(K, M, D)``, and gives ``(N, M)``,
greatest for the candidate that is most likely. What has to be learned is learned from releases of the attacker's own
images, ``(R, I, D)``, R of each.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from cutlayer.metrics.identification import squared_distances

MOST_DIRECTIONS = 256
"""Directions in which images differ, and in which noise does, that are kept apart; all others are treated alike."""
FEWEST = 12
"""Images from which the covariances of images and noise can be learned at all."""
FAINTEST = 1e-6
"""Variance of the noise of a value below which it counts no more, as a share of the mean over all values."""
HEAVY_TAILS = 4.0
"""Kurtosis of the noise from which absolute differences are tried: that of a Gaussian is 3, of a Laplace 6."""
CHANGING = 0.02
"""Share of the values that are zero in one release and not in another from which the survivors are compared."""


class Comparison(Protocol):
    """One way to compare."""

    def observe(self, releases: Tensor) -> Any:
        """Prepare what arrived, ``(n, N, D)``."""

    def score(self, observed: Any, encoded: Tensor) -> Tensor:
        """Compare with ``(K, M, D)`` of the candidates: ``(N, M)``."""


class Equal:
    """The L2 distance, exact to the last bit: for what is not random, where the same input sends the same numbers."""

    def observe(self, releases: Tensor) -> Tensor:
        """Average."""
        return releases.mean(0)

    def score(self, observed: Tensor, encoded: Tensor) -> Tensor:
        """Give the squared distance, negative."""
        return -squared_distances(observed, encoded.mean(0))


class Euclidean:
    """The L2 distance of the means: best where the noise is Gaussian and the same everywhere."""

    def observe(self, releases: Tensor) -> tuple[Tensor, Tensor]:
        """Average, around the mean of all inputs."""
        y = releases.mean(0)
        return y - y.mean(0), y.mean(0)

    def score(self, observed: tuple[Tensor, Tensor], encoded: Tensor) -> Tensor:
        """Give the squared distance, negative."""
        y, center = observed
        return -_distances(y, encoded.mean(0).sub_(center))


class Absolute:
    """The L1 distance to each release, summed: best where the noise is Laplace's."""

    def observe(self, releases: Tensor) -> Tensor:
        """Keep every release."""
        return releases

    def score(self, observed: Tensor, encoded: Tensor) -> Tensor:
        """Give the sum of absolute differences, negative."""
        center = encoded.median(0).values
        return -torch.stack([torch.cdist(release, center, p=1) for release in observed]).sum(0)


class Survivors:
    """The L2 distance over the values that arrived, where the defense leaves values out.

    A value counts where it is not zero in a release of what arrived and, if `of_both`, in one of the candidate.
    """

    def __init__(self, *, of_both: bool) -> None:
        self._of_both = of_both

    def observe(self, releases: Tensor) -> tuple[Tensor, Tensor]:
        """Average the values that survived."""
        count = (releases != 0).sum(0)
        return releases.sum(0) / count.clamp(min=1), (count > 0).to(releases)

    def score(self, observed: tuple[Tensor, Tensor], encoded: Tensor) -> Tensor:
        """Give the mean squared difference over the values that count, negative."""
        (y, seen), (c, known) = observed, self.observe(encoded)
        if not self._of_both:
            known = torch.ones_like(known)
        squares = (y.square() @ known.T).addmm_(y, c.T, alpha=-2).addmm_(seen, c.square().T)
        return -squares / (seen @ known.T).clamp(min=1)


class Mahalanobis:
    """The likelihood of what arrived under Gaussian noise of unknown covariance, given noisy releases of a candidate.

    Values are divided by the spread of their noise. In the directions in which images, or noise, differ most, the
    covariances of both are estimated and made diagonal together; all other directions are treated alike. The candidate
    is not known exactly either: its releases, and how far images differ in a direction, say what it is likely to be.
    With covariances of full rank this is probabilistic linear discriminant analysis (Ioffe, ECCV 2006; Prince and
    Elder, ICCV 2007).

    Args:
        releases: ``(R, I, D)`` of the attacker's images, R at least 2.
    """

    def __init__(self, releases: Tensor) -> None:
        n_releases, _, size = releases.shape
        freedom = (n_releases - 1) / n_releases
        means = releases.mean(0)
        variance = (releases - means).square().mean((0, 1)) / freedom
        self._center = means.mean(0)
        self._scale = variance.clamp(min=FAINTEST * float(variance.mean()) + 1e-30).rsqrt()
        between = (means - self._center) * self._scale
        within = ((releases - means) * self._scale).flatten(0, 1)
        # Directions are found on one half of the images, and how far images differ in them is measured on the other:
        # by the images that they were chosen for, the first directions would look too good.
        finding, measuring = between[::2], between[1::2]
        k = min(MOST_DIRECTIONS, size // 2, len(finding) - 1)
        basis = torch.cat([_directions(finding, k), _directions(within[: 4 * MOST_DIRECTIONS], k // 4)], 1)
        self._basis = torch.linalg.qr(basis)[0]
        inside, noise = between @ self._basis, within @ self._basis
        rows = len(noise) * freedom
        w = noise.T @ noise / rows
        # An estimate of P x P numbers from few rows is drawn towards the simplest noise.
        shrinkage = len(w) / (len(w) + rows)
        w = (1 - shrinkage) * w + shrinkage * w.diagonal().mean() * torch.eye(len(w)).to(w)
        root = torch.linalg.cholesky(w.double())
        half = torch.linalg.solve_triangular(root, inside[::2].T.double(), upper=False)
        turned = torch.linalg.solve_triangular(root.T, torch.linalg.eigh(half @ half.T)[1], upper=True)
        self._turn = turned.to(basis.dtype)
        # The noise has variance 1 now, and a mean of R releases holds 1/R of it.
        self._spread = ((inside[1::2] @ self._turn).square().mean(0) - 1 / n_releases).clamp(min=0)
        others = max(1, size - self._basis.shape[1])
        noise_rest = (within.square().sum() - noise.square().sum()) / (others * rows)
        rest = (measuring.square().sum() - inside[1::2].square().sum()) / (others * len(measuring))
        self._noise_rest = noise_rest.clamp(min=FAINTEST)
        self._spread_rest = (rest / self._noise_rest - 1 / n_releases).clamp(min=0)

    def observe(self, releases: Tensor) -> tuple[Tensor, int]:
        """Average and divide by the spread of the noise."""
        return (releases.mean(0) - self._center) * self._scale, len(releases)

    def score(self, observed: tuple[Tensor, int], encoded: Tensor) -> Tensor:
        """Give the log-likelihood, without what is the same for every candidate."""
        (y, n), (c, n_encoded) = observed, self.observe(encoded)
        inside, of_candidate = y @ self._basis, c @ self._basis

        def weights(spread: Tensor) -> tuple[Tensor, Tensor]:
            """What is likely of a candidate's mean, and how far what arrives lies around it."""
            return n_encoded * spread / (1 + n_encoded * spread), spread / (1 + n_encoded * spread) + 1 / n

        keep, variance = weights(self._spread)
        a, b = inside @ self._turn, (of_candidate @ self._turn) * keep
        distance = squared_distances(a * variance.rsqrt(), b * variance.rsqrt())
        keep, variance = weights(self._spread_rest)
        outside = _distances(y, c, float(keep)) - _distances(inside, of_candidate, float(keep))
        score: Tensor = -(distance + outside.clamp(min=0) / (variance * self._noise_rest)) / 2
        return score


def ways(releases: Tensor) -> list[Comparison]:
    """The ways to compare that may be best for the noise in ``(R, I, D)``, R at least 2, the plain one first."""
    noise = releases[0] - releases[1]
    variance = noise.square().mean(0)
    if variance.max() == 0:
        return [Equal()]
    tried: list[Comparison] = [Euclidean()]
    if releases.shape[1] >= FEWEST:
        tried.append(Mahalanobis(releases))
    # The difference of two releases has half of the excess kurtosis of one.
    kurtosis = (noise.pow(4).mean(0)[variance > 0] / variance[variance > 0].square()).mean()
    if 3 + 2 * (kurtosis - 3) > HEAVY_TAILS:
        tried.append(Absolute())
    zero = releases == 0
    if (zero.any(0) & ~zero.all(0)).float().mean() > CHANGING:
        tried += [Survivors(of_both=True), Survivors(of_both=False)]
    return tried


def _distances(y: Tensor, c: Tensor, factor: float = 1.0) -> Tensor:
    """The squared L2 distances of rows ``(N, D)`` to `factor` times rows ``(M, D)``, in the precision of the rows.

    Noise hides what rounding loses of them, which `squared_distances` keeps at several times the cost.
    """
    length = y.square().sum(1, keepdim=True) + factor**2 * c.square().sum(1)
    return length.addmm_(y, c.T, alpha=-2 * factor).clamp_(min=0)


def _directions(rows: Tensor, k: int) -> Tensor:
    """The k directions ``(D, k)`` in which rows ``(n, D)`` are longest, of length 1."""
    if k < 1:
        return rows.new_zeros(rows.shape[1], 0)
    if len(rows) < rows.shape[1]:
        size, combined = torch.linalg.eigh((rows @ rows.T).double())
        length = size[-k:].clamp(min=1e-12 * size[-1].clamp(min=1e-30)).sqrt()
        directions: Tensor = rows.T @ (combined[:, -k:] / length).to(rows.dtype)
    else:
        directions = torch.linalg.eigh((rows.T @ rows).double())[1][:, -k:].to(rows.dtype)
    return directions
