"""Ensemble: of the pictures of several attacks, for each input the one that would have sent what arrived.

    x = p_k(v),        k = argmin_k  ||W (wire(p_k(v)) - v)||^2

Which attack works best differs from input to input. The attacker does not know the truth, but what each picture would
have sent: it has the device release the pictures, and compares that with what arrived, in the units of
`cutlayer.attacks.features.misfit` (W, whitened). Selection by the truth instead, as some published evaluations do,
reports what no attacker can know.

The picture that fits best is not always the nearest: a search without a prior fits noise. So images that no part was
fitted to decide whether the fit chooses among all parts, or the best part alone is what the attack answers with. Threat
model: that of its parts, and queries with its own pictures while it attacks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.features.combined import Combined
from cutlayer.attacks.features.misfit import NUDGE, scaling
from cutlayer.attacks.queries import release, squared_errors, surely_less
from cutlayer.attacks.view import View
from cutlayer.options import Count


@dataclass(kw_only=True)
class Ensemble(Combined):
    """Take, for each input, the picture whose own release is nearest to what arrived.

    Args:
        attacks: Two attacks or more, each a table with its name and its options.
        n_queries: Releases of each picture whose mean is compared, where the defense is random.
    """

    plain_words = "of several attacks' pictures, the one that would have sent the same numbers"

    n_queries: Count = 8

    def _choose(self, view: View, rehearsed: Tensor, images: Tensor, releases: Tensor) -> None:
        self._query, self._draws = view.query, self.n_queries if view.random else 1
        noise = torch.empty(images.shape).normal_(0, NUDGE, generator=torch.Generator().manual_seed(view.seed))
        nudged = release(view.query, images.cpu() + noise, view.device)
        self._scale = scaling("whitened", releases[0], nudged - releases[0])
        errors = squared_errors(rehearsed, images)
        self._best = int(errors.mean(1).argmin())
        self._selects = surely_less(squared_errors(self._nearest(rehearsed, releases), images), errors[self._best])

    def _combine(self, rebuilt: Tensor, releases: Tensor) -> Tensor:
        return self._nearest(rebuilt, releases) if self._selects else rebuilt[self._best]

    def _nearest(self, rebuilt: Tensor, releases: Tensor) -> Tensor:
        """The picture of each input that fits best, ``(K, N, C, H, W)`` -> ``(N, C, H, W)``."""
        arrived, misfits = releases.mean(dim=0), []
        for candidates in rebuilt:
            sent = torch.stack([release(self._query, candidates.cpu(), arrived.device) for _ in range(self._draws)])
            misfits.append(self._scale(sent.mean(dim=0) - arrived).square().flatten(1).mean(1))
        best = torch.stack(misfits).argmin(dim=0)
        return rebuilt[best, torch.arange(len(best), device=best.device)]
