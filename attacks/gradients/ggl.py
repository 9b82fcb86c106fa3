"""GGL: a latent vector whose generated image has the gradient that was seen, found without derivatives.

Z. Li, J. Zhang, L. Liu, J. Liu, "Auditing Privacy Defenses in Federated Learning via Generative Gradient Leakage",
CVPR 2022, https://arxiv.org/abs/2203.15696; code https://github.com/zhuohangli/GGL at commit c555338. Settings: squared
differences, CMA-ES with 500 iterations of 50 candidates, 0.1 times the divergence of the latent vector from the prior;
labels from the sums of the rows of the last layer; the defense's map applied to the attacker's own gradients. Adam with
learning rate 0.1 is their alternative.

Differs from the paper: the generator is trained on the attacker's own samples, where theirs is BigGAN or StyleGAN2. The
map of a defense is its twin, see `UpdateDefense.twin`.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.matching import Matching
from cutlayer.options import Count, LearningRate, Weight


@dataclass(kw_only=True)
class GGL(Matching):
    """Search latent vectors of a generator by CMA-ES; needs the package cma, unless `optimizer` is ``adam``."""

    plain_words = "tries pictures of a generator until one would have caused the same gradient"

    labels: str = "negative"
    distance: str = "squares"
    prior: str = "latent"
    likely: Weight = 0.1
    optimizer: str = "cma"
    iterations: Count = 500
    population: Count = 50
    lr: LearningRate = 1.0
    direction: str = "gradient"
    schedule: str = "constant"
