"""The mean of the attacker's own samples: what an answer without the update reaches, and every attack has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.view import Observation, UpdateView


@dataclass(kw_only=True)
class Mean(UpdateAttack):
    """Answer with the mean of the auxiliary samples, whatever the update is."""

    plain_words = "answers with the mean of the attacker's own samples, whatever arrives"

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base."""
        mean = torch.from_numpy(view.auxiliary.inputs.mean(0))
        return [Recovered(mean.expand(o.samples, *mean.shape).clone()) for o in observations]
