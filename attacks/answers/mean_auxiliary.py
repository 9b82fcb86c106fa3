"""Mean auxiliary: the average of the attacker's own samples, whatever the class.

It asks nothing, and is the floor of every figure that rewards what all classes have in common: pixels, and distances.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.view import ClassView, Reply


@dataclass(kw_only=True)
class MeanAuxiliary(ClassAttack):
    """Show the mean of the attacker's own samples, k times for each class."""

    plain_words = "shows the average of the attacker's own samples, the same for each class"
    needs = Reply.LABEL
    is_floor = True

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See `ClassAttack`."""
        mean = torch.from_numpy(view.auxiliary.inputs).mean(0)
        return mean.expand(len(view.targets), k, *view.input.shape).clone()
