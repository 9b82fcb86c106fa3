"""Ridge regression on the principal components of the smashed data: the linear inversion of wide cuts.

    z = V'(a - mean),        W = argmin  sum_i ||x_i - W z_i||^2  +  penalty ||W||^2

(Hoerl and Kennard, Ridge Regression, Technometrics 1970; the components by the randomized range finder of Halko,
Martinsson and Tropp, SIAM Review 2011, algorithm 4.4.) Plain `ridge` solves a system as large as the smashed data or
the number of images, whichever is less, and leaves images out where both are large. Here the system is as large as the
number of components, all images count, and the costly part, finding the components, grows with the images and not with
their square. The number of components and the penalty are those with the least error on held-out images. Threat model:
that of `ridge`, the attacker queries the device's head and defense with its own images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.ridge import CHUNK, HELD_OUT, solve
from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.view import Access, View
from cutlayer.options import Size, Whole

POWER_ITERATIONS = 1
"""Passes that sharpen the components; the spectrum of smashed data falls off fast enough for one."""
FEWEST = 16
"""The least number of components that is tried."""


class Components:
    """The directions in which rows of numbers vary most, each number standardized first.

    Args:
        rows: ``(N, D)``.
        n: Number of directions, at most.
        seed: Seed of the range finder.
    """

    def __init__(self, rows: Tensor, n: int, seed: int) -> None:
        self.center, spread = rows.mean(dim=0), rows.std(dim=0, correction=0)
        # A value that never changes has no weight.
        self.scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)
        with torch.random.fork_rng(devices=[rows.device] if rows.is_cuda else []):
            torch.manual_seed(seed)
            _, _, self.directions = torch.svd_lowrank(self._standardized(rows), min(n, *rows.shape), POWER_ITERATIONS)

    def scores(self, rows: Tensor) -> Tensor:
        """``(N, D)`` -> ``(N, n)``, the greatest directions first."""
        return torch.cat([self._standardized(part) @ self.directions for part in torch.split(rows, CHUNK)])

    def _standardized(self, rows: Tensor) -> Tensor:
        return rows.to(self.center).sub(self.center).mul_(self.scale)


@dataclass(kw_only=True)
class PcaRidge(Attack):
    """Invert by the linear map, from the leading principal components, that fits the attacker's own images best.

    Args:
        components: Principal components, at most; a half, a quarter and so on of them are tried as well.
        n_auxiliary: Images used; 0 for all that the attacker has.
    """

    plain_words = "a linear formula on the main directions of what was sent, fitted on the attacker's own pictures"
    needs = Access.BLACK_BOX

    components: Size = 1024
    n_auxiliary: Whole = 0

    def fit(self, view: View) -> None:
        """Query with the auxiliary images, find the components, choose their number and the penalty, solve."""
        device = torch.device("cpu") if view.device.type == "mps" else view.device  # mps has no float64
        images, n_fit = with_held_out(view, self.n_auxiliary, HELD_OUT)
        rows = release(view.query, images, device).flatten(1)
        self._shape, pixels = images.shape[1:], images.to(device).flatten(1)
        self._mean = pixels[:n_fit].mean(dim=0)  # of the images from which the components are centered
        # From no held-out image, so that a victim's image fits the components as well as those by which we choose.
        self._components = Components(rows[:n_fit], self.components, view.seed)
        scores = self._components.scores(rows)
        self._weights, least = torch.empty(0), torch.inf
        for count in halvings(scores.shape[1]):
            weights, error = solve(scores[:, :count], pixels - self._mean, n_fit)
            if error < least:
                self._weights, least = weights, error

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        scores = self._components.scores(smashed.flatten(1))[:, : len(self._weights)]
        return (self._mean + scores @ self._weights).clamp(0, 1).reshape(len(smashed), *self._shape).to(smashed)


def halvings(most: int) -> list[int]:
    """The number, and its half, its quarter and so on, down to `FEWEST`."""
    counts = [most]
    while counts[-1] // 2 >= FEWEST:
        counts.append(counts[-1] // 2)
    return counts
