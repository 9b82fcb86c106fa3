"""Unlearning inversion, its label part: of which class the samples are that a model has been made to forget.

H. Hu, S. Wang, T. Dong, M. Xue, "Learn What You Want to Unlearn: Unlearning Inversion Attacks against Machine
Unlearning", IEEE S&P 2024, https://arxiv.org/abs/2404.03233. The attacker asks the model about samples of its own
before and after the deletion, and takes the class whose mean confidence falls most.
"""

import torch
from torch import Tensor

from cutlayer.attacks.answers.view import Service


def confidence_lost(before: Service, after: Service, probes: Tensor) -> Tensor:
    """How far the mean probability of each class falls from one model to the other, ``(classes,)``.

    The class with the greatest fall is the one to name.

    Args:
        before: The model as it was; it tells scores.
        after: The model that has forgotten some samples; it tells scores.
        probes: ``(N, *input.shape)``: samples of the attacker's own, each of which is asked about twice.
    """
    first, second = (service.scores(probes).exp().double().mean(0) for service in (before, after))
    return torch.sub(first, second)
