"""Low-rank header: few features reach the last layer, and training stops before the network is quite sure.

After H. Yu et al., "CALoR: Towards Comprehensive Model Inversion Defense", 2024: a low-rank compression of the features
before the classifier, and an adaptation of the confidence, so that what a training sample makes the network say is not
the greatest that any input could.

    logits = W_2 tanh(W_1 h + b_1) + b_2  with `rank` numbers between,    loss = |CE - -log confidence|, for each sample

Threat model: an attacker with the weights or with scores. What vanishes are gradients, and not what the labels say: the
adaptive attack searches an imitation that learned from labels (``label-transfer``), which has no such header. On digits
of one seed it did better than the search through the victim itself, and worse on those of another.

Differs from the paper, which is known from its abstract: both formulas are this project's. The saturating tanh follows
the abstract's second aim, gradients that vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.options import Whole, Within

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Dataset
    from cutlayer.spec import TensorSpec


@dataclass(kw_only=True)
class LowRankHeader(AnswerDefense):
    """Let few features reach the last layer, and train to a confidence below 1.

    Args:
        rank: Number of features that reach the last layer; 0 leaves network and training as they are.
        confidence: Probability of the label to which each sample is trained; 1 for cross-entropy.
    """

    knob = "rank"
    adaptive = ("label-transfer", "lokt")
    plain_words = "lets few features reach its last layer, and trains to a confidence below 1"

    rank: Whole = 8
    confidence: Annotated[float, Within(0, 1, above=True)] = 0.95

    def rebuilt(self, model: nn.Module, input: TensorSpec, classes: int, seed: int) -> nn.Module:
        """See `AnswerDefense`.

        Raises:
            ConfigError: The last operation of the model is no linear layer.
        """
        if not self.on:
            return model
        import torch
        from torch import nn

        from cutlayer.defenses.surgery.last_layer import last_linear

        name = last_linear(model, input)
        features = cast(nn.Linear, model.get_submodule(name)).in_features
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            header = nn.Sequential(nn.Linear(features, self.rank), nn.Tanh(), nn.Linear(self.rank, classes))
        model.set_submodule(name, header)
        return model

    def train(
        self, model: nn.Module, data: Dataset, public: Dataset, *, epochs: int, seed: int, lr: float = 2e-3
    ) -> None:
        """See `AnswerDefense`."""
        if not self.on:
            return super().train(model, data, public, epochs=epochs, seed=seed, lr=lr)
        from torch.nn.functional import cross_entropy

        from cutlayer.training import optimize

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            each = cross_entropy(model(images).float(), labels, reduction="none")
            value: Tensor = (each + log(self.confidence)).abs().mean()
            return value

        optimize([model], data, loss, epochs=epochs, seed=seed, lr=lr)
