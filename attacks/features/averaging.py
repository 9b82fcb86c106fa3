"""Averaging: wait until the same input has been sent several times, and let fresh noise cancel itself.

The noise of the mean of n independent releases has 1/n of the variance, so no random defense is measured without it (in
the language of differential privacy: composition). For a defense that sets random values to zero, the survivors are
averaged: after n releases only a share of r^n of the values is still missing, and the others are exact.

Threat model: that of the attack it wraps, and a device that releases one input more than once: a camera that sees the
same scene, a request that is sent again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.view import View
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.errors import ConfigError
from cutlayer.options import Count

OVER = ("releases", "survivors")


@dataclass(kw_only=True)
class Averaging(Wrapping):
    """Average `n_releases` of each input, then attack the mean.

    The wrapped attack is fitted on means of as many queries, so it knows the noise that is left. Where the defense is
    not random, averaging changes nothing and the wrapped attack runs as it is.

    Args:
        attack: Name of the attack to wrap.
        n_releases: Releases of each input, at least 1.
        over: ``releases``, all of them, or ``survivors``, those in which the value is not zero.
        options: Options of the wrapped attack; None for its defaults.
    """

    plain_words = "averages several transmissions of the same input to remove the noise"
    rebuilds = ("image", "table", "tokens")

    attack: str = "ridge"
    n_releases: Count = 16
    over: str = "releases"

    def __post_init__(self) -> None:
        if self.n_releases < 1:
            raise ConfigError(f"averaging.n_releases must be at least 1, not {self.n_releases}.")
        if self.over not in OVER:
            raise ConfigError(f"averaging.over must be one of {', '.join(OVER)}, not {self.over!r}.")
        if self.attack == "averaging":
            raise ConfigError("averaging cannot wrap itself; raise n_releases instead.")
        self._inner = self.another()

    def fit(self, view: View) -> None:
        """Fit the wrapped attack to means of releases."""
        query = view.query
        n = self.n_releases if view.random else 1
        self._inner.fit(view.with_query(lambda images: self._mean(query(images) for _ in range(n))))

    def invert(self, smashed: Tensor) -> Tensor:
        """Invert a single release, as if it were a mean."""
        return self._inner.invert(smashed)

    def invert_releases(self, releases: Tensor) -> Tensor:
        """``(n_releases, N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        return self._inner.invert(self._mean(releases))

    def _mean(self, releases: Iterable[Tensor]) -> Tensor:
        """The mean of releases, each ``(N, *smashed.shape)``; only one of them is in memory at a time."""
        total, count = torch.zeros(()), torch.zeros(())
        for release in releases:
            total = total.to(release) + release
            count = count.to(release) + (release != 0 if self.over == "survivors" else 1)
        return total / count.clamp(min=1)
