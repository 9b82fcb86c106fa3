"""Find labels and a tail together that would give the gradients which came back.

S. Kariyappa, M. K. Qureshi, "ExPLoit: Extracting Private Labels in Split Learning", SaTML 2023, over all batches. On
one batch it is the batch-level attack of T. Zou, Y. Liu, Y. Kang, W. Liu, Y. He, Z. Yi, Q. Yang, Y. Zhang, "Defending
Batch-Level Label Inference and Replacement Attacks in Vertical Federated Learning", IEEE Trans. Big Data 2022.

    min over tail, Y:  mean_i |g_i - dCE(tail(v_i), Y_i)/dv_i|^2 / mean_i |g_i|^2
                       + entropy * mean_i H(Y_i) + prior * KL(shares || mean_i Y_i)

Threat model: the party that sent the smashed data, which knows the shares of the classes or guesses equal ones, and
the labels of a few samples, without which the classes of the surrogate have no names.

Differs from the papers: the tail is the true one's form only by chance (one hidden layer), and known labels stay fixed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.training.base import LabelAttack, LabelView
from cutlayer.options import Count, LearningRate, Size, Weight


@dataclass(kw_only=True)
class Surrogate(LabelAttack):
    """Optimize soft labels and a tail by the difference between the gradients that they give and those observed.

    Args:
        width: Width of the surrogate's hidden layer.
        epochs: Passes over the steps; each is one step of Adam.
        lr: Learning rate of the tail and of the logits of the labels.
        entropy: Weight of the entropy of a label, which should be one class.
        prior: Weight of the distance of the labels' mean from the shares of the classes.
        shares: Shares of the classes; equal ones where it is empty.
    """

    plain_words = "searches for labels and a tail that would give the gradients"

    width: Size = 32
    epochs: Count = 40
    lr: LearningRate = 0.02
    entropy: Weight = 1e-2
    prior: Weight = 1e-2
    shares: tuple[float, ...] = ()

    def infer(self, view: LabelView) -> Tensor:
        """See the base; the scores are the logarithms of the soft labels."""
        smashed = [batch.flatten(1).detach() for batch in view.smashed]
        observed = [gradient.flatten(1) for gradient in view.gradients]
        device = observed[0].device
        scale = torch.cat([len(rows) * rows for rows in observed]).square().sum(1).mean().clamp(min=1e-30)
        with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
            torch.manual_seed(view.seed)
            inner = nn.Linear(smashed[0].shape[1], self.width), nn.ReLU(), nn.Linear(self.width, view.classes)
        tail = nn.Sequential(*inner).to(device)
        given = torch.tensor(self.shares or [1 / view.classes] * view.classes, device=device)
        logits = torch.zeros(sum(map(len, smashed)), view.classes, device=device)
        fixed = torch.tensor(list(view.known), dtype=torch.long, device=device)
        names = torch.tensor(list(view.known.values()), dtype=torch.long, device=device)
        logits[fixed] = 10 * functional.one_hot(names, view.classes).float()
        free = torch.ones(len(logits), 1, device=device)
        free[fixed] = 0
        logits.requires_grad_()
        optimizer = torch.optim.Adam([*tail.parameters(), logits], self.lr)
        for _ in range(self.epochs):
            first = 0
            for rows, target in zip(smashed, observed, strict=True):
                part = slice(first, first := first + len(rows))
                soft, taken = logits[part].softmax(1), rows.clone().requires_grad_()
                loss = functional.cross_entropy(tail(taken), soft, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, taken, create_graph=True)
                misfit = (gradient - len(rows) * target).square().sum(1).mean() / scale
                entropy = -(soft * soft.clamp(min=1e-9).log()).sum(1).mean()
                distance = (given * (given / soft.mean(0).clamp(min=1e-9)).clamp(min=1e-9).log()).sum()
                optimizer.zero_grad()
                (misfit + self.entropy * entropy + self.prior * distance).backward()
                if logits.grad is not None:
                    logits.grad *= free
                optimizer.step()
        return logits.detach().log_softmax(1)
