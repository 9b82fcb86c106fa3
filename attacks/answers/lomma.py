"""LOMMA: GMI with the logit in place of the cross-entropy, a pull of the features, and students beside the victim.

N.-B. Nguyen, K. Chandrasegaran, M. Abdollahzadeh, N.-M. Cheung, "Re-thinking Model Inversion Attacks Against Deep
Neural Networks", CVPR 2023, https://arxiv.org/abs/2304.01669; code
https://github.com/sutd-visual-computing-group/Re-thinking_MI at commit ed4b6b8. Settings: the logit, the squared
distance of the features before the last layer to their mean over the public images (the code draws around the mean, and
then takes the mean), the mean over the victim and three students that were distilled from it on public images, 2,400
steps.

Differs from the paper:

- The base attack is `gmi` with a single search for each image. The students are small networks, and learn in 500 steps
  (theirs: EfficientNets, 20 epochs).
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.gmi import Gmi
from cutlayer.options import Count, Weight, Whole


@dataclass(kw_only=True)
class Lomma(Gmi):
    """Search latent vectors by the logit, of the victim and of students."""

    plain_words = "changes a generated picture until the model and imitations of it agree on the class"

    loss: str = "logit"
    features: Weight = 1.0
    steps: Count = 2400
    candidates: Count = 1
    students: Whole = 3
