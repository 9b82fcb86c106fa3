"""MID: a variational information bottleneck before the last layer, where its authors put it.

T. Wang, Y. Zhang, R. Jia, "Improving Robustness to Model Inversion Attacks via Mutual Information Regularization", AAAI
2021, https://arxiv.org/abs/2009.05241. The features h before the last layer become a sample:

    mean, s = layer(h);  z ~ N(mean, softplus(s - 5)^2);  logits = last(z);  loss = CE + beta * KL(z || N(0, I)) in nats

with z of half as many numbers as h, and a draw for every answer, as in github.com/Jiachen-T-Wang/mi-defense @462ca24
(`VGG16_vib.predict`). The same bottleneck at the cut of a split model is the defense ``mid``.

Threat model: an attacker with the weights, or with scores. The adaptive one averages over the draws: the gradient over
several passes of the network (``margin`` with ``draws`` above 1), or the answers to a question that it asks several
times (``genetic`` with ``answers`` above 1, each of which counts).

A network that draws can be cut, but not exported: ONNX Runtime draws other numbers than torch, so that an export cannot
be checked.

Differs from the paper: the deviation begins at ln 2 (`softplus(s)`), for from softplus(-5) a short training does not
get near 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.options import Weight

if TYPE_CHECKING:
    from torch import nn

    from cutlayer.spec import TensorSpec


@dataclass(kw_only=True)
class LastLayerMid(AnswerDefense):
    """Draw the features before the last layer from a normal distribution that tells little of the input.

    Args:
        beta: Weight of KL, in nats over all numbers, beside the cross-entropy.
    """

    knob = "beta"
    plain_words = "draws its last features at random, and is trained to let them tell little"
    adaptive = ("genetic.answers", "margin.draws")

    beta: Weight = 3e-3  # the authors', against GMI

    def rebuilt(self, model: nn.Module, input: TensorSpec, classes: int, seed: int) -> nn.Module:
        """See `AnswerDefense`.

        Raises:
            ConfigError: The last operation of the model is no linear layer.
        """
        if not self.on:
            return model
        import torch

        from cutlayer.defenses.surgery.drawn import Drawn
        from cutlayer.defenses.surgery.last_layer import without_last

        body, last = without_last(model, input)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return Drawn(body, last.in_features, classes, self.beta)
