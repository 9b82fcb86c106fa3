"""AGIC: a change of weights by several local steps, taken for one gradient of all samples.

J. Xu, C. Hong, J. Huang, L. Y. Chen, J. Decouchant, "AGIC: Approximate Gradient Inversion Attack on Federated
Learning", SRDS 2022, https://arxiv.org/abs/2204.13784. Settings: delta / (learning rate * steps) in place of the
gradient, the cosine with weights that rise with the layer, total variation, Adam on signs. Compare with
``inverting-gradients`` with ``local = "simulate"``, which repeats the steps.

Differs from the paper: the abstract alone was at hand, and no code exists. Weights rise in proportion to the number of
the layer; what is not stated is as in Inverting Gradients; labels are found from the update, where theirs are given.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.inverting_gradients import InvertingGradients


@dataclass(kw_only=True)
class AGIC(InvertingGradients):
    """Match the mean gradient of several local steps, late layers more than early ones."""

    plain_words = "takes several training steps for one, and looks for pictures that would have caused it"

    layers: str = "rising"
