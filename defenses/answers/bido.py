"""BiDO from scratch: hidden layers that depend little on the input and much on the label, as its authors train them.

X. Peng, F. Liu, J. Zhang, L. Lan, J. Ye, T. Liu, B. Han, "Bilateral Dependency Optimization: Defending Against
Model-inversion Attacks", KDD 2022, https://arxiv.org/abs/2206.05483; code github.com/AlanPeng0897/Defend_MI @207116e.
The loss
is cross-entropy plus `cutlayer.defenses.shared.dependence.bilateral`, with one of two measures of dependence: the
normalized Hilbert-Schmidt criterion, or the constrained covariance. The defense of the same name for releases
(``cutlayer list defenses``) trains further from a trained network; here the training begins with it.

Weights by the authors: HSIC .05 and .5 for CelebA; COCO 1 and 50, or 2 and 20, for MNIST (names of their files). By the
same names some weights cost 30 points of accuracy, so that part of the defense is a worse network: compare it with one
that was trained shorter to the same accuracy.

Threat model: an attacker with the weights or with scores. No attack is adapted to it.

Differs from the paper: the hidden layers are the outputs of all convolutions and linear layers but the last; the
optimizer is AdamW.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.errors import ConfigError
from cutlayer.options import Batch, Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Dataset

MEASURES = ("hsic", "coco")


@dataclass(kw_only=True)
class BiDO(AnswerDefense):
    """Train hidden layers to depend little on the input and much on the label, from the first step on.

    Args:
        weight_x: Weight of the dependence on the input; at 0 neither term is there.
        weight_y: Weight of the dependence on the label.
        measure: ``hsic`` or ``coco``.
        batch: Samples in a step, to which the weights of HSIC belong.
    """

    knob = "weight_x"
    plain_words = "trains its hidden layers to depend little on the input and much on the label"

    weight_x: Weight = 0.05
    weight_y: Weight = 0.5
    measure: str = "hsic"
    batch: Batch = 64

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ConfigError(f"bido.measure must be one of {', '.join(MEASURES)}, not {self.measure!r:.80}.")
        if self.batch < 2:
            raise ConfigError("bido.batch must be 2 or more: one sample alone depends on nothing.")

    def train(
        self, model: nn.Module, data: Dataset, public: Dataset, *, epochs: int, seed: int, lr: float = 2e-3
    ) -> None:
        """See `AnswerDefense`."""
        if not self.on:
            return super().train(model, data, public, epochs=epochs, seed=seed, lr=lr)
        from torch.nn.functional import cross_entropy

        from cutlayer.defenses.shared.dependence import bilateral, coco, hsic
        from cutlayer.models.graph import layer_outputs
        from cutlayer.training import optimize

        dependence = {"hsic": hsic, "coco": coco}[self.measure]

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            with layer_outputs(model) as hidden:
                logits = model(images)
            layers = [output for _, output in hidden if output is not logits]
            terms = bilateral(dependence, images, layers, labels, self.weight_x, self.weight_y)
            return cross_entropy(logits.float(), labels) + terms

        optimize([model], data, loss, epochs=epochs, seed=seed, lr=lr, batch=self.batch)
