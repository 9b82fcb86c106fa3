"""BiDO, bilateral dependency optimization: hidden layers that depend little on the input and much on the label.

X. Peng, F. Liu, J. Zhang, L. Lan, J. Ye, T. Liu, B. Han, "Bilateral Dependency Optimization: Defending Against
Model-inversion Attacks", KDD 2022, https://arxiv.org/abs/2206.05483; code github.com/AlanPeng0897/Defend_MI @207116e:

    min over head and tail of  CE + weight_x * sum_j HSIC(X, Z_j) - weight_y * sum_j HSIC(Z_j, Y)

over the hidden layers Z_j. HSIC is the normalized one with Gaussian kernels of ``sigma = 5 sqrt(D)`` and a linear one
for labels, as in the code. So normalized it says in a small batch more of the dimension of Z than of dependence: of 64
Fashion-MNIST images and LeNet's ReLU2 it is 28, of the same shuffled 26, of noise in the place of Z 34. It grows with
the batch, too, so that weights belong to a batch size.

Threat model: an honest-but-curious server, black-box or white-box. The paper defends against something else, the
reconstruction of training data from the weights of a classifier; what it does against inversion of releases is ours
to measure. The release is a deterministic function of the input.

Differs from the paper:
    - Training starts from the trained model and is short (`epochs`).
    - The hidden layers are the outputs of all convolutions and linear layers but the last, and the smashed data; there
      the outputs of the blocks. With `layers` = ``cut`` it is the smashed data alone.
    - HSIC only; COCO is a measure of the answer defense of the same name, which trains from scratch.
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

LAYERS = ("all", "cut")


@dataclass(kw_only=True)
class BiDO(Defense):
    """Train hidden layers to depend little on the input (HSIC) and much on the label.

    Args:
        weight_x: Weight of the dependence on the input.
        weight_y: Weight of the dependence on the label.
        layers: ``all`` hidden layers, or the smashed data at the ``cut`` alone.
        epochs: Passes over the training part.
        batch: Images in a step.
    """

    knob = "weight_x"
    kinds = ("image", "table")
    why_only = "it measures how smashed data depends on the numbers of the input, and the ids of tokens are names"

    weight_x: Weight = 0.05  # the paper's for CelebA
    weight_y: Weight = 0.5  # the paper's for CelebA
    layers: str = "all"
    epochs: Epochs = 4
    batch: Batch = 64  # the code's

    def __post_init__(self) -> None:
        if min(self.weight_x, self.weight_y, self.epochs) < 0 or self.batch < 2:
            raise ConfigError(f"{self!r}: weights and epochs must be 0 or more, and batch 2 or more.")
        if self.layers not in LAYERS:
            raise ConfigError(f"bido.layers must be one of {', '.join(LAYERS)}, not {self.layers!r}.")

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.weight_x or self.weight_y else 0

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Train copies of both halves; with both weights 0 return the split itself."""
        if self.weight_x == 0 and self.weight_y == 0:
            return split
        from torch.nn.functional import cross_entropy

        from cutlayer.defenses.shared.dependence import bilateral, hsic
        from cutlayer.models.graph import layer_outputs
        from cutlayer.models.halves import copied
        from cutlayer.training import optimize

        hardened = copied(split)
        halves = [hardened.head, hardened.tail]

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            with layer_outputs(*(halves if self.layers == "all" else [])) as hidden:
                smashed = hardened.head(images)
                logits = hardened.tail(smashed)
            layers = [output for _, output in hidden if output is not logits and output is not smashed]
            terms = bilateral(hsic, images, [*layers, smashed], labels, self.weight_x, self.weight_y)
            return cross_entropy(logits.float(), labels) + terms

        optimize(halves, data.train, loss, epochs=self.epochs, seed=seed, batch=self.batch)
        return hardened
