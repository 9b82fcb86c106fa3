"""Nearest neighbor: the attacker's own image whose smashed data looks most like what was received.

Threat model: the attacker queries the device's head and defense with its own images, and holds images like the
victim's. No training, no image model: what comes back is always a real image, never the victim's. It catches defenses
that only blur, and attacks that only answer with the mean of a class.

Baseline without a paper of its own; k-nearest-neighbor search is Fix and Hodges, 1951.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cutlayer.attacks.base import Attack
from cutlayer.attacks.queries import auxiliary_images, release
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.options import Whole

CHUNK = 256
"""Releases compared with the table at a time; bounds the memory."""
METRICS = ("l2", "cosine")


@dataclass(kw_only=True)
class Nearest(Attack):
    """Look the received smashed data up among those of the auxiliary images.

    Args:
        metric: Distance between smashed data: ``l2``, or ``cosine``, which ignores their scale.
        n_auxiliary: Images in the table; 0 for all that the attacker has. Each costs the memory of its smashed data.
    """

    plain_words = "looks up the most similar of the attacker's own pictures"
    needs = Access.BLACK_BOX

    metric: str = "l2"
    n_auxiliary: Whole = 0

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ConfigError(f"nearest.metric must be one of {', '.join(METRICS)}, not {self.metric!r}.")

    def fit(self, view: View) -> None:
        """Tabulate the auxiliary images by their smashed data."""
        self._images = auxiliary_images(view, self.n_auxiliary)
        self._table = self._keys(release(view.query, self._images, view.device))

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``, each an auxiliary image."""
        keys = self._keys(smashed.to(self._table.device))
        offset = self._table.square().sum(dim=1)
        nearest = [(offset - 2 * part @ self._table.T).argmin(dim=1) for part in torch.split(keys, CHUNK)]
        return self._images[torch.cat(nearest).cpu()].to(smashed.device)

    def _keys(self, smashed: Tensor) -> Tensor:
        """``(N, D)``, to be compared by L2 distance; on unit vectors that orders as the cosine does."""
        return normalize(smashed.flatten(1)) if self.metric == "cosine" else smashed.flatten(1)
