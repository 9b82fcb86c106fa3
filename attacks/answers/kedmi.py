"""KEDMI: a distribution of latent vectors for each class, under a critic that knows what the victim says of images.

S. Chen, M. Kahla, R. Jia, G.-J. Qi, "Knowledge-Enriched Distributional Model Inversion Attacks", ICCV 2021,
https://arxiv.org/abs/2010.04092; code https://github.com/SCccc21/Knowledge-Enriched-DMI at commit 1ec92f4: a generator
whose critic predicts the victim's answers (`cutlayer.nets.informed`), then for each class a normal distribution that
starts with mean 0 and log-variance 1, Adam with learning rate 0.02, 2,400 steps of 100 times the cross-entropy and the
critic's doubt.

Not repeated: clipping latent vectors acts on a copy there, and so does nothing; pictures pass 8-bit files before they
are judged.

Differs from the paper: 300 steps, each with a draw for every picture that is shown; theirs has one for each class.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.search import Search
from cutlayer.options import LearningRate, Weight, Whole


@dataclass(kw_only=True)
class KEDMI(Search):
    """Search a distribution for each class with a critic that the victim has informed."""

    plain_words = "learns to draw with the model's own opinion of pictures, and finds many drawings of each class"

    prior: str = "informed"
    loss: str = "cross-entropy"
    weight: Weight = 100.0
    penalty: Weight = 1.0
    step: str = "distribution"
    steps: Whole = 300
    lr: LearningRate = 0.02
