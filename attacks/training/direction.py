"""The direction of a sample's gradient, compared with those of a few samples whose labels are known.

O. Li et al., "Label Leakage and Protection in Two-party Split Learning", ICLR 2022, §3, for two classes: the cosine
with one known positive changes its sign with the label. For more classes, J. Liu, X. Lyu, Q. Cui, X. Tao,
"Similarity-based Label Inference Attack against Training and Inference of Split Learning", IEEE TIFS 2024: the nearest
known sample.

Threat model: the party that sent the smashed data reads the gradient that comes back, and knows the labels of a few of
its samples, such as those that it made up.

Differs from released code: the score is the raw cosine, without a threshold before its AUC is computed, and the known
samples do not count in the result.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cutlayer.attacks.training.base import LabelAttack, LabelView
from cutlayer.errors import ConfigError


@dataclass(kw_only=True)
class Direction(LabelAttack):
    """Score a class by the greatest cosine with the gradients of its known samples.

    The score of a class without a known sample is the negative of the greatest score of the others.
    """

    plain_words = "compares the direction of a gradient with those of a few samples whose labels are known"

    def infer(self, view: LabelView) -> Tensor:
        """See the base."""
        if not view.known:
            raise ConfigError("direction compares with samples of known labels, and none is known.")
        unit = functional.normalize(view.rows, dim=1)
        scores = torch.full((len(unit), view.classes), -torch.inf, device=unit.device)
        for label in range(view.classes):
            known = [sample for sample, of in view.known.items() if of == label]
            if known:
                scores[:, label] = (unit @ unit[known].T).amax(1)
        others = -scores.amax(1, keepdim=True)
        return torch.where(scores.isinf(), others, scores)
