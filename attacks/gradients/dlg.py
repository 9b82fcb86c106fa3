"""DLG: the first gradient matching, which searches samples and soft labels together.

L. Zhu, Z. Liu, S. Han, "Deep Leakage from Gradients", NeurIPS 2019, https://arxiv.org/abs/1906.08935; code
https://github.com/mit-han-lab/dlg at commit d21007f. Settings: sum of squared differences, L-BFGS with learning rate 1
and 300 iterations of 20 evaluations, normal noise at first, no bounds. Shown on a LeNet with sigmoids and weights
uniform in [-0.5, 0.5] (`dlg_lenet`); elsewhere it often diverges.

Differs from the paper: the noise is in standard units, because models here normalize images themselves; the search ends
where five iterations gain less than a fifth; the answer is clipped to the range of samples. Some searches are lost from
their start on: `restarts` begins again then, and not after a search that has converged.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.matching import Matching
from cutlayer.attacks.gradients.objective import JOINT
from cutlayer.options import Count, LearningRate


@dataclass(kw_only=True)
class DLG(Matching):
    """Match the squared differences by L-BFGS, with soft labels that are searched too; options as in `Matching`."""

    plain_words = "changes noise and guessed labels until they would have caused the same gradient"

    labels: str = JOINT
    distance: str = "squares"
    box: bool = False
    optimizer: str = "lbfgs"
    iterations: Count = 300
    lr: LearningRate = 1.0
