"""HF-GradInv (also SGI): late layers first, then all; smoothness and statistics only once the picture is there.

Z. Ye, W. Luo, Q. Zhou, Y. Tang, "High-Fidelity Gradient Inversion in Distributed Learning", AAAI 2024; code
https://github.com/MiLab-HITSZ/2023YeHFGradInv at commit 6faa004. Settings: the mean over layers of one minus the
cosine, of layers from number 100 at first, ten more every 500 steps, down to 25; total variation 5e-3 from step 3,000;
batch-normalization statistics 1e-4 from step 5,000 with a factor of 1.3 for the first; Adam 0.1 on quantised signs,
15,000 steps. Labels by an evolutionary search. Shown on ResNet-34 with 8 images of 224 px.

Differs from the paper: numbers of layers are shares of the 110 parameters of ResNet-34, and steps are shares of all, so
that both fit other models and budgets. Restarts are compared by the objective of the last era.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.matching import Matching
from cutlayer.options import Count, Share, Weight


@dataclass(kw_only=True)
class HFGradInv(Matching):
    """Match the cosine layer by layer, late layers first, by Adam on quantised signs."""

    plain_words = "matches the last layers first and the others after them, then smooths the pictures"

    labels: str = "evolutionary"
    distance: str = "layer-cosine"
    layers: str = "late-first"
    tv: Weight = 5e-3
    tv_from: Share = 0.2
    bn: Weight = 1e-4
    bn_from: Share = 1 / 3
    bn_first: Weight = 1.3
    iterations: Count = 15_000
    direction: str = "quantised"
    schedule: str = "constant"
