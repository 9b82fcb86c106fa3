"""NoPeek: train the split model so that the smashed data is little correlated with the input.

P. Vepakomma, A. Singh, O. Gupta, R. Raskar, "NoPeek: Information leakage reduction to share activations in distributed
deep learning", ICDM Workshops 2020, https://arxiv.org/abs/2008.09161:

    min over head and tail of  CE(tail(z), y) + weight * dCor(x, z),   z = head(x)

Threat model: an honest-but-curious server, black-box or white-box. Nothing is hidden from it: the release is a
deterministic function of the input, mostly injective, and a low distance correlation does not make it harder to invert
for a decoder that is trained on it. Nor can it be low in small batches: of 64 Fashion-MNIST images and LeNet's ReLU2 of
64 others it is 0.45, of 256 it is 0.25.

Differs from the paper:
    - Training starts from the trained model and is short (`epochs`).
    - The distances are Euclidean. A known reimplementation squares them, by which ``y = x**2`` seems independent of x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.options import Batch, Epochs, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel


@dataclass(kw_only=True)
class NoPeek(Defense):
    """Train the head so that the distance correlation of smashed data and input is low.

    Args:
        weight: Weight of the distance correlation beside the cross-entropy.
        epochs: Passes over the training part.
        batch: Images in a step; the more there are, the smaller is the bias of the statistic.
    """

    knob = "weight"
    kinds = ("image", "table")
    why_only = "it measures how smashed data depends on the numbers of the input, and the ids of tokens are names"

    weight: Weight = 1.0  # ResSFL, Table 4: 1, 1.5, 2
    epochs: Epochs = 4
    batch: Batch = 64

    def __post_init__(self) -> None:
        if self.weight < 0 or self.epochs < 0 or self.batch < 2:
            raise ConfigError(f"{self!r}: weight and epochs must be 0 or more, and batch 2 or more.")

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.weight else 0

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Train copies of both halves; at weight 0 return the split itself."""
        if self.weight == 0:
            return split
        from torch.nn.functional import cross_entropy

        from cutlayer.models.halves import copied
        from cutlayer.training import optimize

        hardened = copied(split)

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            smashed = hardened.head(images)
            penalty = self.penalty(images, smashed)
            assert penalty is not None
            return cross_entropy(hardened.tail(smashed).float(), labels) + penalty

        halves = [hardened.head, hardened.tail]
        optimize(halves, data.train, loss, epochs=self.epochs, seed=seed, batch=self.batch)
        return hardened

    def penalty(self, inputs: Tensor, smashed: Tensor) -> Tensor | None:
        """The weighted distance correlation of a batch and its smashed data."""
        from cutlayer.defenses.shared.dependence import distance_correlation

        return self.weight * distance_correlation(inputs, smashed) if self.weight else None
