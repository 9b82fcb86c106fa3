"""GIAS: latent vectors of a generator first, then its weights.

J. Jeon, J. Kim, K. Lee, S. Oh, J. Ok, "Gradient Inversion with Generative Image Prior", NeurIPS 2021,
https://arxiv.org/abs/2110.14962; code https://github.com/ml-postech/gradient-inversion-generative-image-prior at commit
f841412. Settings: the cosine of what was not sent as zero, 1,000 steps of Adam on latent vectors with learning rate
0.03, then 8,000 on the generator's weights with 1e-3, total variation 1e-6 to 1e-4, labels by iDLG.

Differs from the paper: the generator is trained on the attacker's own samples, where theirs is StyleGAN2; total
variation is 1e-5; the variant that learns the prior from many gradients is left out.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.matching import Matching
from cutlayer.options import Count, LearningRate, Weight, Whole


@dataclass(kw_only=True)
class GIAS(Matching):
    """Search latent vectors of a generator, then its weights."""

    plain_words = "finds a generated picture with a like gradient, then bends the generator until it fits"

    labels: str = "idlg"
    distance: str = "masked-cosine"
    prior: str = "generator"
    tv: Weight = 1e-5
    iterations: Count = 1000
    lr: LearningRate = 0.03
    later_iterations: Whole = 8000
    later_lr: Weight = 1e-3
    direction: str = "gradient"
    schedule: str = "constant"
