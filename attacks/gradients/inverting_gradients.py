"""Inverting Gradients: the direction of the gradient, total variation, and signs.

J. Geiping, H. Bauermeister, H. Dröge, M. Moeller, "Inverting Gradients - How easy is it to break privacy in federated
learning?", NeurIPS 2020, https://arxiv.org/abs/2003.14053; code https://github.com/JonasGeiping/invertinggradients at
commit 1157b61. Settings: one minus the cosine over all layers, total variation of weight 0.1 (the sum of the means of
both directions; the package breaching halves it, and states 0.2), Adam on the sign of the gradient with learning rate
0.1, pixels in standard units within their bounds, 4,800 steps, the rate a tenth at 3/8, 5/8 and 7/8 of them. Restarts
are compared by their own objective.

Differs from the paper: labels come from the bias of the last layer (``counts``), where theirs are given for batches;
the standard units are those of the attacker's samples.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.matching import Matching
from cutlayer.options import Count, Weight


@dataclass(kw_only=True)
class InvertingGradients(Matching):
    """Match the cosine by Adam on signs, with total variation; options as in `Matching`."""

    plain_words = "changes noise into a smooth picture whose gradient points in the same direction"

    tv: Weight = 0.1
    iterations: Count = 4800
