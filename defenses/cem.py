"""CEM, conditional entropy maximization: draw what is sent for one class together, until noise hides what is left.

S. Xia et al., "Theoretical Insights in Model Inversion Robustness and Conditional Entropy Maximization for
Collaborative Inference Systems", CVPR 2025, https://arxiv.org/abs/2503.00383. No attack has a mean squared error below
``exp(2 H(x|z) / d) / (2 pi e)``. Behind noise of fixed deviation sigma, H(x|z) is the greater the less z varies, which
is estimated by clusters within each class:

    min over head and tail of  CE(tail(z + n), y) + weight * L_C,    n ~ N(0, sigma^2)
    L_C = sum_j w_j mean_d relu(ln(var_jd + GAMMA) - ln(threshold * sigma^2 + GAMMA))

over clusters j with a share w_j of the inputs, and elements d. Constants as in github.com/xiasong0501/CEM @7813a63.

Threat model: an honest-but-curious server that knows the defense and may see several releases of one input: the mean of
k of them carries noise of ``sigma / sqrt(k)``. The bound is estimated, not proven: clusters are not normal.

Differs from the paper:
    - Training starts from the trained model and is short (`epochs`), so that L_C counts from the first epoch on, with
      one weight throughout (there it grows as the learning rate falls).
    - The variance in the logarithm is a running one, begun by the clusters of the last epoch; its gradient is that of
      the batch. There, single batches are mixed with the whole set by a factor of their own.
    - Clusters are fitted to the last `CLUSTERED` images of an epoch. The bound is that of
      `cutlayer.defenses.shared.additive`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import pick_device
from cutlayer.options import Epochs, Size, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.data.splits import Splits
    from cutlayer.defenses.shared.density import Density
    from cutlayer.models.halves import SplitModel

GAMMA = 0.01
"""Variance below which a smaller one is no gain."""
CLUSTERED = 4096
"""Images that clusters are fitted to."""
BATCH = 64
"""Images in a step."""


@dataclass(kw_only=True)
class Cem(Defense):
    """Add Gaussian noise to a bounded release that varies little within a class (conditional entropy).

    Args:
        weight: Weight of L_C beside the cross-entropy; at 0, noise-aware training alone.
        sigma: Standard deviation of the noise, in the unit of the bounded smashed data.
        clusters: Clusters in each class.
        threshold: Share of the noise's variance below which less variance is no gain.
        bound: Function that bounds what the head gives; see `cutlayer.defenses.shared.additive.AdditiveNoise`.
        epochs: Passes over the training part.
    """

    knob = "weight"
    kinds = ("image", "table")
    why_only = "its clusters need smashed data of one size, and sentences differ in length"

    weight: Weight = 8.0  # the code's run_exp.sh: 8 and 16
    sigma: Weight = 0.1  # there 0.01 to 0.15
    clusters: Size = 5
    threshold: Weight = 0.125
    bound: str = "sigmoid"
    epochs: Epochs = 4

    def __post_init__(self) -> None:
        if min(self.weight, self.threshold, self.epochs) < 0 or self.clusters < 1:
            raise ConfigError(f"{self!r}: weight, threshold and epochs must be 0 or more, and clusters 1 or more.")
        self._noise = GaussianNoise(sigma=self.sigma, bound=self.bound)

    @property
    def random(self) -> bool:
        """Whether there is noise: not at sigma 0."""
        return self._noise.random

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.weight or self.sigma else 0

    def surgery(self, split: SplitModel) -> SplitModel:
        """The bound at the end of the head."""
        return self._noise.surgery(split)

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Bound the head, then train copies of both halves; with neither weight nor noise return the split."""
        if self.weight == 0 and self.sigma == 0:
            return split
        import torch
        from torch.nn.functional import cross_entropy

        from cutlayer.defenses.shared.aware import smashed_of
        from cutlayer.defenses.shared.clusters import Clusters
        from cutlayer.models.halves import copied
        from cutlayer.training import optimize

        hardened = copied(self._noise.harden(split, data, seed))
        clusters = Clusters(self.clusters, seed)
        first = torch.from_numpy(smashed_of(hardened, data.train, CLUSTERED)).to(device := pick_device())
        clusters.fit(first, torch.from_numpy(data.train.labels[: len(first)]).to(device))
        recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=CLUSTERED // BATCH)
        steps = itertools.count(1)

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            smashed = hardened.head(images).float()
            total = cross_entropy(hardened.tail(self.protect(smashed, rng)).float(), labels)
            if self.weight:
                share, variances = clusters.observe(smashed, labels)
                total = total + self.weight * (share * self._excess(variances)).sum()
                recent.append((smashed.detach(), labels))
                if next(steps) % -(-len(data.train) // BATCH) == 0:
                    clusters.fit(*(torch.cat(parts) for parts in zip(*recent, strict=True)))
            return total

        halves = [hardened.head, hardened.tail]
        optimize(halves, data.train, loss, epochs=self.epochs, seed=seed, batch=BATCH, device=device)
        return hardened

    def _excess(self, variances: Tensor) -> Tensor:
        """Mean excess of the logarithms of variances ``(J, D)`` over what the noise hides, in nats, ``(J,)``."""
        allowed = math.log(self.threshold * self.sigma**2 + GAMMA)
        return ((variances + GAMMA).log() - allowed).relu().mean(1)

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """The signal-to-noise ratio of one release, in dB."""
        return self._noise.facts(smashed)

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Add fresh noise; at sigma 0 return the input itself."""
        return self._noise.protect(smashed, rng)

    def density(self, smashed: Any) -> Density | None:
        """That of its noise."""
        return self._noise.density(smashed)
