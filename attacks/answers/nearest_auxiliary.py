"""Nearest auxiliary: the attacker's own samples that the victim takes most surely for the class.

It knows nothing of the victim's samples, and still a judge that may name the victim's classes only calls nine of ten
such digits right. It is the first floor of every attack on answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.errors import ConfigError


@dataclass(kw_only=True)
class NearestAuxiliary(ClassAttack):
    """Show the attacker's own samples that the victim is surest of.

    Each of the attacker's samples is asked about once, for all classes together.
    """

    plain_words = "shows those of the attacker's own samples that the model takes most surely for the class"
    needs = Reply.SCORES
    is_floor = True

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See `ClassAttack`.

        Raises:
            ConfigError: The attacker has fewer than k samples.
        """
        own = torch.from_numpy(view.auxiliary.inputs)
        if len(own) < k:
            raise ConfigError(f"The attacker has {len(own)} samples, and {k} are to be shown of each class.")
        scores = view.service.scores(own)
        return torch.stack([own[scores[:, target].topk(k).indices] for target in view.targets])
