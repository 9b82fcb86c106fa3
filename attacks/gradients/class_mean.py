"""The mean of the attacker's own samples of each class that an update is found to hold: the floor for large batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.labels import by_class, labels_of, of_each
from cutlayer.attacks.gradients.mean import usual
from cutlayer.attacks.gradients.view import Observation, UpdateView


@dataclass(kw_only=True)
class ClassMean(UpdateAttack):
    """Find the labels, and answer with the mean of the attacker's own samples of each.

    Args:
        labels: How the labels are found, one of `cutlayer.attacks.gradients.labels.LABELS`.
    """

    plain_words = "finds the classes of the samples, and answers with the mean of its own samples of each"

    labels: str = "counts-by-class"

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base."""
        own = view.auxiliary
        if view.input.is_tokens:
            parts = [own.at(np.flatnonzero(own.labels == c)) for c in range(view.classes)]
            means = torch.stack([usual(part if len(part) else own) for part in parts])
        else:
            means = by_class(torch.from_numpy(own.inputs), view)
        found = (labels_of(self.labels, observation, one) for one, observation in of_each(view, observations))
        return [Recovered(means[labels], labels) for labels in found]
