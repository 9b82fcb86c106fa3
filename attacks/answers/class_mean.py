"""Class mean: for each answer the average of the attacker's own samples that the model answers the same.

It uses nothing of an answer but the class, so an attack that is no nearer has learned nothing from the other scores.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.answers.base import AnswerAttack, Seen
from cutlayer.attacks.answers.view import ClassView, Reply


@dataclass(kw_only=True)
class ClassMean(AnswerAttack):
    """Show the mean of the attacker's own samples of the answered class; of all samples where none has that answer.

    Where the inputs are seen but for a hidden part, only that part is the mean's. Each of the attacker's samples is
    asked about once.
    """

    plain_words = "shows the average of the attacker's own samples that the model gives the same class"
    needs = Reply.LABEL
    is_floor = True

    def invert(self, view: ClassView, seen: Seen) -> Tensor:
        """See `AnswerAttack`."""
        own = torch.from_numpy(view.auxiliary.inputs)
        labels, answered = view.service.labels(own), seen.scores.argmax(1)
        means = own.mean(0).expand(len(answered), *own.shape[1:]).clone()
        for label in answered.unique():
            if (labels == label).any():
                means[answered == label] = own[labels == label].mean(0)
        return means if seen.mask is None or seen.masked is None else torch.where(seen.mask, means, seen.masked)
