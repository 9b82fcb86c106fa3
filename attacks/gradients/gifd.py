"""GIFD: latent vectors of a generator, then what each of its layers passes on.

H. Fang, B. Chen, X. Wang, Z. Wang, S.-T. Xia, "GIFD: A Generative Gradient Inversion Method with Feature Domain
Optimization", ICCV 2023, https://arxiv.org/abs/2308.04699; code
https://github.com/ffhibnese/GIFD_Gradient_Inversion_Attack at commit ff243fe. Settings: the cosine of what was not sent
as zero, 1,000 steps of Adam with learning rate 0.1 for the latent vectors and as many for each layer, features within
an L1 ball around their beginning, total variation 1e-4, L2 1e-6, 4 restarts, labels by iDLG. The image of the least
objective over all layers is taken.

Differs from the paper: the generator is trained on the attacker's own samples, where theirs are BigGAN and StyleGAN2.
It has fewer features, so the radius of the ball (theirs: 1,000 to 7,500 in all) is stated as the mean change of a
feature.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.matching import Matching
from cutlayer.options import Count, Weight


@dataclass(kw_only=True)
class GIFD(Matching):
    """Search latent vectors of a generator, then the features of its layers, one after the other."""

    plain_words = "finds a generated picture with a like gradient, then changes what the generator's layers pass on"

    labels: str = "idlg"
    distance: str = "masked-cosine"
    prior: str = "features"
    tv: Weight = 1e-4
    l2: Weight = 1e-6
    iterations: Count = 1000
    restarts: Count = 4
    direction: str = "gradient"
    schedule: str = "constant"
