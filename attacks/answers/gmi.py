"""GMI: latent vectors of a generator that was trained on the attacker's own images.

Y. Zhang, R. Jia, H. Pei, W. Wang, B. Li, D. Song, "The Secret Revealer: Generative Model-Inversion Attacks Against
Deep Neural Networks", CVPR 2020, https://arxiv.org/abs/1911.07135; code https://github.com/AI-secure/GMI-Attack at
commit dac39bc. Settings: 100 times the cross-entropy minus the critic's score, momentum 0.9 in look-ahead form,
learning rate 1e-2 on MNIST for the mean over 5 images, 1,500 steps, latent vectors within -1 and 1, 5 searches for each
image, of which the victim's own answer takes one.

Differs from the paper:

- The gradient is that of each image's own objective, so that the learning rate is theirs divided by their 5 images.
- The generator is that of `cutlayer.nets.wgan`. Of the 5 k searches for a class, the k surest are shown.
- The searches never see a judge: the code's accuracy is that of the restart which a judge takes best.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.search import Search
from cutlayer.options import Count, LearningRate, Weight


@dataclass(kw_only=True)
class Gmi(Search):
    """Search latent vectors of a generator by the cross-entropy, with the critic's score as a second term."""

    plain_words = "changes a generated picture until the model is sure of the class and the critic takes it for real"

    loss: str = "cross-entropy"
    weight: Weight = 100.0
    penalty: Weight = 1.0
    step: str = "momentum"
    steps: Count = 1500
    lr: LearningRate = 2e-3
    bound: Weight = 1.0
    candidates: Count = 5
