"""SMI: background alignment whose pictures must also look like their class, to the attacker and to the victim.

After Z. Tian et al., "The Role of Class Information in Model Inversion Attacks against Image Deep Learning
Classifiers", IEEE TDSC 2023, from its description; there is no public code. The decoder of answers
(`cutlayer.attacks.answers.background_alignment`) minimizes

    MSE(x', x) + a CE(C(x'), label of x) + b CE(S(x'), what the victim said of x),

where C knows the attacker's labels, and S imitates the victim. Both are learned from the attacker's own inputs and the
answers to them, and no further question is asked. Here they are two ends of one network.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from cutlayer.attacks.answers.background_alignment import BackgroundAlignment, Loss
from cutlayer.attacks.answers.base import Seen
from cutlayer.attacks.answers.view import ClassView
from cutlayer.data.splits import Dataset
from cutlayer.models import zoo
from cutlayer.options import Count, Weight
from cutlayer.training import optimize

CLASSIFIER = "lenet_bn"


@dataclass(kw_only=True)
class Smi(BackgroundAlignment):
    """Train a decoder of answers that keeps what says the class.

    Args:
        label_weight: The weight a of the attacker's labels; 0 where it has none.
        answer_weight: The weight b of the victim's answers.
        classifier_epochs: Passes in which C and S are learned.
    """

    plain_words = "trains a network that turns the answers back into pictures that still look like their class"

    label_weight: Weight = 0.002
    answer_weight: Weight = 0.002
    classifier_epochs: Count = 4

    def loss(self, view: ClassView, own: Dataset, seen: Seen) -> Loss:
        """See `BackgroundAlignment`."""
        names, labels = np.unique(own.labels, return_inverse=True)
        label, said = torch.from_numpy(labels).to(view.device), seen.scores.exp().to(view.device)
        network = zoo.build(CLASSIFIER, view.input, len(names) + said.shape[1], view.seed)

        def classes(images: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
            of_label, as_victim = network(images).float().split((len(names), said.shape[1]), 1)
            return cross_entropy(of_label, label[positions]), cross_entropy(as_victim, said[positions])

        def of_batch(images: Tensor, positions: Tensor, rng: np.random.Generator) -> Tensor:
            return torch.stack(classes(images, positions)).sum()

        numbered = Dataset(own.inputs, np.arange(len(own)), own.modality)
        optimize([network], numbered, of_batch, epochs=self.classifier_epochs, seed=view.seed, device=view.device)
        network.to(view.device).requires_grad_(False)

        def loss(rebuilt: Tensor, images: Tensor, positions: Tensor) -> Tensor:
            of_label, as_victim = classes(rebuilt, positions)
            weighted = self.label_weight * of_label + self.answer_weight * as_victim
            return mse_loss(rebuilt, images) + weighted

        return loss
