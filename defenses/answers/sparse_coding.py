"""Sparse coding: the first convolution gives a sparse code of the image in place of its products.

S. V. Dibbo, A. Breuer, J. Moore, M. Teti, "Improving Robustness to Model Inversion Attacks via Sparse Coding
Architectures", ECCV 2024: layers that solve a sparse coding problem let little pass that the class does not need.

With the weights W of the first convolution, each of norm 1, as the dictionary, a code a of the image x comes from a few
steps of iterative soft thresholding (ISTA):

    a <- soft(a + W*(x - W^T a) / L, threshold / L),   min over a of  ||x - W^T a||^2 / 2 + threshold * ||a||_1

The step 1 / L is learned, from the inverse of the greatest squared singular value that W has at the start.

Threat model: an attacker with the weights or with scores; gradients pass through the steps. No attack is adapted to it.
The network is cut and exported as any other.

Differs from the paper: one layer, ISTA in place of the locally competitive algorithm, unrolled and trained through
(K. Gregor, Y. LeCun, ICML 2010) where the authors learn the dictionary for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.options import Weight, Within

if TYPE_CHECKING:
    from torch import nn

    from cutlayer.spec import TensorSpec


@dataclass(kw_only=True)
class SparseCoding(AnswerDefense):
    """Let the first convolution give a sparse code of the image.

    Args:
        threshold: Weight of the code's absolute values; more make it sparser. 0 leaves the network as it is.
        steps: Steps of the search for the code.
    """

    knob = "threshold"
    plain_words = "lets its first layer give a sparse code of the image"

    threshold: Weight = 0.1
    steps: Annotated[int, Within(1, 1000)] = 5

    def rebuilt(self, model: nn.Module, input: TensorSpec, classes: int, seed: int) -> nn.Module:
        """See `AnswerDefense`.

        Raises:
            ConfigError: The model has no convolution that takes an input, or that one has groups.
        """
        if not self.on:
            return model
        from cutlayer.defenses.surgery.coded import Coded, first_convolution

        name, convolution, size = first_convolution(model, input)
        model.set_submodule(name, Coded(convolution, size, self.threshold, self.steps))
        return model
