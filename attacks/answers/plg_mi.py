"""PLG-MI: a generator for each class, learned from the attacker's own images that the victim takes for the class.

X. Yuan, K. Chen, J. Zhang, W. Zhang, N. Yu, Y. Zhang, "Pseudo Label-Guided Model Inversion Attack via Conditional
Generative Adversarial Network", AAAI 2023, https://arxiv.org/abs/2302.09814; code
https://github.com/LetheSec/PLG-MI-Attack at commit 3cf8735: 30 images for each class, a conditional generator whose
images the victim is to know (`cutlayer.nets.conditional`), then 600 steps of Adam with learning rate 0.1 on the latent
vector alone, the margin over two random changes (crops of 0.8 and more, 5 degrees), 5 starts.

``prior = "wgan"`` is the same without pseudo-labels. On digits that is no worse: judges agree on 78 % with and 77 %
without (100 pictures of five classes, one seed), so that the margin has nearly all of the effect.

Not repeated: one of the scripts that choose images never runs, because it mistypes the name of its network; the scripts
differ in whether the distance to the real images is that of all pictures or only of those that succeed.

Differs from the paper: images are small, and so are the networks, the steps (200), and the candidates of a picture (2);
a latent vector has 64 elements in place of 128. Pictures are neither mirrored, because digits are not, nor changed in
color; ``flip = true`` mirrors faces.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.search import Search
from cutlayer.options import Count, LearningRate, Share, Weight, Whole


@dataclass(kw_only=True)
class PLGMI(Search):
    """Search the latent vectors of a generator that knows the victim's classes by the victim's guesses."""

    plain_words = "learns to draw each class from own pictures that the model takes for it, and improves the drawings"

    prior: str = "conditional"
    prior_steps: Whole = 1200
    steps: Whole = 200
    lr: LearningRate = 0.1
    crop: Share = 0.8
    rotate: Weight = 5.0
    draws: Count = 2
    candidates: Count = 2
