"""Train a tail of one's own on a few labelled samples, behind the head that the training has made good.

C. Fu, X. Zhang, S. Ji, J. Chen, J. Wu, S. Guo, J. Zhou, A. X. Liu, T. Wang, "Label Inference Attacks Against Vertical
Federated Learning", USENIX Security 2022, §4.1, the passive attack by model completion.

Threat model: the party that trains the head knows the labels of a few samples; it uses no gradient, so that no defense
of the gradient stops it.

Differs from the paper: the tail is trained on the labelled samples alone, without MixMatch over the others.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.training.base import LabelAttack, LabelView
from cutlayer.errors import ConfigError
from cutlayer.options import Count, LearningRate, Size


@dataclass(kw_only=True)
class ModelCompletion(LabelAttack):
    """Train a small network from smashed data to labels on the known samples.

    Args:
        width: Width of its hidden layer.
        iterations: Steps of AdamW, each over all known samples.
        lr: Learning rate.
    """

    plain_words = "trains a tail of its own on a few samples whose labels are known"

    width: Size = 64
    iterations: Count = 200
    lr: LearningRate = 1e-2

    def infer(self, view: LabelView) -> Tensor:
        """See the base; the scores are the logits."""
        if not view.known:
            raise ConfigError("model-completion trains on samples of known labels, and none is known.")
        rows = torch.cat([smashed.flatten(1) for smashed in view.smashed])
        rows = (rows - rows.mean(0)) / rows.std(0).clamp(min=1e-6)
        samples = list(view.known)
        labels = torch.tensor([view.known[sample] for sample in samples], device=rows.device)
        with torch.random.fork_rng([rows.device] if rows.is_cuda else [], device_type="cuda"):
            torch.manual_seed(view.seed)
            tail = nn.Sequential(nn.Linear(rows.shape[1], self.width), nn.ReLU(), nn.Linear(self.width, view.classes))
        tail = tail.to(rows.device)
        optimizer = torch.optim.AdamW(tail.parameters(), self.lr, weight_decay=0.1)
        for _ in range(self.iterations):
            optimizer.zero_grad()
            functional.cross_entropy(tail(rows[samples]), labels).backward()
            optimizer.step()
        with torch.no_grad():
            scores: Tensor = tail(rows)
        return scores
