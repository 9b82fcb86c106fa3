"""GradInversion: squared differences, batch-normalization statistics, and several searches that hold together.

H. Yin, A. Mallya, A. Vahdat, J. M. Alvarez, J. Kautz, P. Molchanov, "See through Gradients: Image Batch Recovery via
GradInversion", CVPR 2021, https://arxiv.org/abs/2104.07586. The authors publish no code; settings as in the package
breaching (https://github.com/JonasGeiping/breaching, release 0.1.2): half the sum of squares times 1e-4, total
variation 1e-4, L2 1e-6, statistics 0.1 with a factor of 10 for the first layer, Adam 0.1 within the bounds, 20,000
steps, a cosine schedule after 50 steps, noise 0.01 (paper: 0.2). Labels are those of the least numbers in the rows of
the last layer, none twice.

Differs from the paper: the group of 8 searches is held at its mean pixel by pixel, without registration by optical
flow; its weight, 0.01, is recalled and not verified. Differs from breaching, and not from the paper: noise is added to
the pixels with each step, and not to the gradient that Adam gets.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.matching import Matching
from cutlayer.options import Count, Weight


@dataclass(kw_only=True)
class GradInversion(Matching):
    """Match squared differences by Adam, with statistics of batch normalizations and a group of searches."""

    plain_words = "changes noise into pictures with the same gradient that also look usual to the model's own layers"

    labels: str = "yin"
    distance: str = "squares"
    scale: Weight = 0.5e-4
    tv: Weight = 0.5e-4  # the sum of both directions, of which breaching takes the mean
    l2: Weight = 1e-6
    bn: Weight = 0.1
    group: Weight = 0.01
    restarts: Count = 8
    iterations: Count = 20_000
    direction: str = "gradient"
    schedule: str = "cosine"
    noise: Weight = 0.01
