"""PPA: the surest of many generated pictures, moved by the Poincare distance under random crops, then chosen by votes.

L. Struppek, D. Hintersdorf, A. De Almeida Correia, A. Adler, K. Kersting, "Plug & Play Attacks: Towards Robust and
Flexible Model Inversion Attacks", ICML 2022, https://arxiv.org/abs/2201.12179; code
https://github.com/LukasStruppek/Plug-and-Play-Attacks at commit 3087a4f. Settings: 2,000 starts (FaceScrub), Adam with
both betas 0.1, random crops of at least 0.9 of the side, 200 searches of which 100 random crops choose 50.

Differs from the paper:

- Latent vectors of a small generator in place of StyleGAN2's inner ones, with the learning rate 0.05 (theirs: 0.005)
  and 100 steps.
- The votes are 20, over crops as in the search (theirs: 100, of 0.5 to 0.9). Mirrored crops are an option, `flip`,
  because a mirrored digit is none.
- The distance does not carry over to victims with few classes. There it has points far from the class at which its
  slope is 0 (tests/attacks/answers/test_losses.py), and no learning rate leaves them. `margin` does without it.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.search import Search
from cutlayer.options import Count, LearningRate, Share, Whole


@dataclass(kw_only=True)
class Ppa(Search):
    """Search from the surest of many generated images by the Poincare distance, and choose by votes."""

    plain_words = "changes the surest of many generated pictures, and keeps those that convince the model when cropped"

    loss: str = "poincare"
    starts: Whole = 2000
    steps: Count = 100
    lr: LearningRate = 0.05
    momentum: Share = 0.1
    second: Share = 0.1
    crop: Share = 0.9
    candidates: Count = 4
    votes: Whole = 20
