"""MIRROR with weights: a search that stays where the prior has most of its samples.

S. An, G. Tao, Q. Xu, Y. Liu, G. Shen, Y. Yao, J. Xu, X. Zhang, "MIRROR: Model Inversion for Deep Learning Network with
High Fidelity", NDSS 2022; code https://github.com/njuaplusplus/mirror at commit 2730a14. Settings: Adam with learning
rate 0.25, 10 times the cross-entropy, the start the surest of 100,000 stored samples.

Differs from the paper:

- There is no mapping network in a small generator, so that its space P has no meaning: latent vectors are kept
  within 2 standard deviations of the normal prior instead.
- 4,000 starts and 500 steps (theirs: up to 20,000). Mirrored images are an option, `flip`.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.search import Search
from cutlayer.options import Count, LearningRate, Weight, Whole


@dataclass(kw_only=True)
class Mirror(Search):
    """Search from the surest of many generated images by the cross-entropy, within bounds."""

    plain_words = "changes the surest of many generated pictures, and stays within what the generator often makes"

    loss: str = "cross-entropy"
    weight: Weight = 10.0
    starts: Whole = 4000
    steps: Count = 500
    lr: LearningRate = 0.25
    bound: Weight = 2.0
