"""The mean of the attacker's own samples: what an answer without the update reaches, and every attack has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.data.modality import TOKENS
from cutlayer.data.splits import Dataset


def usual(data: Dataset) -> Tensor:
    """The mean of samples, or of sentences that which repeats the most frequent token: ``input.shape``."""
    sentences = data.modality.name == TOKENS
    return torch.from_numpy(data.modality.floor(data.inputs) if sentences else data.inputs.mean(0))


@dataclass(kw_only=True)
class Mean(UpdateAttack):
    """Answer with the mean of the auxiliary samples, whatever the update is."""

    plain_words = "answers with the mean of the attacker's own samples, whatever arrives"

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base."""
        mean = usual(view.auxiliary)
        return [Recovered(mean.expand(o.samples, *mean.shape).clone()) for o in observations]
