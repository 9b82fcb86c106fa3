"""The undefended model, as it is or trained further.

A defense that trains the model gives it more epochs than the undefended model has had, and those alone change accuracy
and leakage. With as many `epochs` here, both have had the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cutlayer.defenses.base import Defense
from cutlayer.options import Epochs

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel


@dataclass(kw_only=True)
class Undefended(Defense):
    """No defense: the baseline.

    Args:
        epochs: Further passes over the training part, as the defenses make them; 0 leaves the model as it is.
    """

    epochs: Epochs = 0

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Train copies of both halves on their task alone; with no epochs return the split itself."""
        if not self.epochs:
            return split
        from torch.nn.functional import cross_entropy

        from cutlayer.models.halves import copied
        from cutlayer.training import optimize

        further = copied(split)

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            return cross_entropy(further.tail(further.head(images)).float(), labels)

        optimize([further.head, further.tail], data.train, loss, epochs=self.epochs, seed=seed)
        return further
