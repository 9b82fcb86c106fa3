"""IF-GMI: latent vectors of a generator, then what each of its layers passes on.

Y. Qiu, H. Fang, H. Yu, B. Chen, M. Qiu, S.-T. Xia, "A Closer Look at GAN Priors: Exploiting Intermediate Features for
Enhanced Model Inversion Attacks", ECCV 2024, https://arxiv.org/abs/2407.13863; code
https://github.com/final-solution/IF-GMI at commit e792ef1. Settings: 5,000 starts, the Poincare distance, Adam with
both betas 0.1, 70 steps for the latent vectors and 25 for each inner layer with a fresh optimizer, each layer within an
L1 ball around its beginning, no votes.

Differs from the paper:

- The layer whose image is shown is the one of which the victim is surest; the code reports the layer that a judge likes
  best.
- Three layers of a small generator, and a radius that is a share of the layer's own L1 norm (theirs: 1,000 to 8,000).
- The generator has no latent vector beside the inner layer that could move with it.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.ppa import Ppa
from cutlayer.options import Count, Whole


@dataclass(kw_only=True)
class IfGmi(Ppa):
    """Search latent vectors of a generator, then its inner layers one after the other."""

    plain_words = "changes the surest of many generated pictures, then what the generator's layers pass on"

    starts: Whole = 5000
    steps: Count = 70
    candidates: Count = 1
    votes: Whole = 0
    layers: Whole = 3
