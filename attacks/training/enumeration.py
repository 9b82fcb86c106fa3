"""Every label, and every combination of the other party's features, is tried: which gradient would it give?

``enumeration``: E. Erdogan, A. Küpçü, A. E. Çiçek, "UnSplit: Data-Oblivious Model Inversion, Model Stealing, and Label
Inference Attacks against Split Learning", WPES 2022, §3.3. ``exact``: X. Qiu, H. Pan, W. Zhao, Y. Gao, P. P. B. de
Gusmao, W. F. Shen, C. Ma, N. D. Lane, "EXACT: Extensive Attack for Split Learning", 2023 (arXiv 2305.12997), where
the party with the labels also holds a few discrete features of its own.

Threat model: the attacker holds the other party's model as it was at each step (it has sent it, or trained its like)
and sees the gradient. A guess is compared with the gradient by squared distance.

Differs from the papers: of UnSplit, the tail is the true one and no clone; of EXACT the abstract alone was at hand,
which does not name the distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cutlayer.attacks.training.base import LabelAttack, LabelView


@dataclass(kw_only=True)
class Enumeration(LabelAttack):
    """Try every label, and keep the one whose gradient is nearest."""

    plain_words = "tries every label, and keeps the one that would give the gradient"

    def infer(self, view: LabelView) -> Tensor:
        """See the base; the score is the squared distance, negative."""
        return -torch.cat([distances(view, step, None) for step in range(len(view.gradients))])


@dataclass(kw_only=True)
class Exact(LabelAttack):
    """Try every label with every combination of the other party's features, and keep the nearest gradient."""

    plain_words = "tries every label with every value of the hidden features, and keeps what would give the gradient"

    def infer(self, view: LabelView) -> Tensor:
        """See the base; the score of a class is that of its best combination."""
        return self._scores(view).amax(1)

    def infer_private(self, view: LabelView) -> Tensor:
        """The number of the combination in `LabelView.private` that fits each sample best, ``(N,)``."""
        return self._scores(view).amax(2).argmax(1)

    def _scores(self, view: LabelView) -> Tensor:
        """``(N, M, classes)``."""
        steps = range(len(view.gradients))
        tried = [torch.stack([distances(view, step, values) for values in view.private], 1) for step in steps]
        return -torch.cat(tried)


def distances(view: LabelView, step: int, values: Tensor | None) -> Tensor:
    """Squared distance of a step's gradient from the one that each label would give, ``(B, classes)``.

    Args:
        view: The view.
        step: Number of the step.
        values: ``(P,)``, the other party's features, alike for all samples; None where it has none.
    """
    observed, tail = view.gradients[step], view.tail(step)
    smashed = view.smashed[step].detach().clone().requires_grad_()
    taken = smashed if values is None else torch.cat([smashed.flatten(1), values.expand(len(smashed), -1)], 1)
    logits = tail(taken)
    found = []
    for label in range(view.classes):
        loss = functional.cross_entropy(logits, torch.full((len(logits),), label, device=logits.device))
        (gradient,) = torch.autograd.grad(loss, smashed, retain_graph=label + 1 < view.classes)
        found.append((gradient - observed).flatten(1).square().sum(1))
    return torch.stack(found, 1)
