"""DIA: the masks of dropout are searched beside the samples, so that dropout protects nothing.

D. Scheliga, P. Mäder, M. Seeland, "Dropout Is NOT All You Need to Prevent Gradient Leakage", AAAI 2023,
https://arxiv.org/abs/2208.06163; code https://github.com/dAI-SY-Group/DropoutInversionAttack at commit aa5c00c.
Settings: one minus the cosine, total variation 1e-5, masks clipped to [0, 1] with 1e-4 times the distance between their
share of zeros and the rate, Adam 0.1 on signs, 20,000 steps, the rate a tenth after 800 steps without gain.

Differs from the paper: labels are found from the update, where theirs are given. It takes effect on updates of clients
that compute in training mode (`eval_mode = false`) with layers of dropout.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.matching import Matching
from cutlayer.options import Count, Weight


@dataclass(kw_only=True)
class DIA(Matching):
    """Match the cosine by Adam on signs, and search the masks of dropout too."""

    plain_words = "guesses which neurons were switched off together with the picture"

    tv: Weight = 1e-5
    masks: bool = True
    mask_rate: Weight = 1e-4
    iterations: Count = 20_000
    schedule: str = "plateau"
