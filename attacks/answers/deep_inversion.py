"""DeepInversion: pictures from noise whose statistics in every batch normalization are those of the training data.

    x* = argmin_x  CE(T(roll(x)), y) + bn sum_l (|mean_l - kept mean_l| + |var_l - kept var_l|) + tv TV(x) + l2 |x|

H. Yin, P. Molchanov, J. M. Alvarez, Z. Li, A. Mallya, D. Hoiem, N. K. Jha, J. Kautz, "Dreaming to Distill: Data-free
Knowledge Transfer via DeepInversion", CVPR 2020, https://arxiv.org/abs/1912.08795; code
https://github.com/NVlabs/DeepInversion at commit 2413af1. Settings, of its script for CIFAR-10: batches of 256 with all
classes in turn, 2,000 steps of Adam with learning rate 0.1, statistics 100, total variation 2.5e-5, no L2, rolls of up
to 2 pixels. The norms of total variation and L2 are those of the whole batch, as there.

Threat model: the attacker holds the network and needs no data and no answers. Where it holds the tail alone, the
statistics are those of the tail's layers.

Not repeated: there the best batch is a name of the one that goes on changing, so the last is shown as the best; hooks
stay on the network; the targets are fixed to a batch of 256.

Differs from the paper: the weight of the statistics is 10, because 100 leaves the class too little to say in few steps.
It was chosen with a victim of the attacker's own: of its digits 0 to 4, judges who know them agree on 8, 28 and 14 % of
the pictures for weights of 100, 10 and 1 (n=50, 150 steps). Pixels are searched in units of a quarter of the range
around its middle, because the network's own normalization is part of it here, and stay in the range, as in the paper's
search on ImageNet. Of a class, the pictures that the network is surest of are shown. There is no student to be wrong
where the network is right (adaptive DeepInversion).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.errors import ConfigError
from cutlayer.nets.norms import Norms
from cutlayer.options import Batch, Count, LearningRate, Weight, Whole
from cutlayer.progress import track

MIDDLE, UNIT = 0.5, 0.25
"""The pixel that noise lies around, and its standard deviation."""


@dataclass(kw_only=True)
class DeepInversion(ClassAttack):
    """Change noise until the network knows the class in it, and its layers see what they saw in training.

    Args:
        steps: Steps of Adam.
        lr: Learning rate, in a quarter of the range of pixels.
        bn: Weight of the statistics of batch normalization.
        tv: Weight of total variation.
        l2: Weight of the norm.
        jitter: The most pixels that all pictures are rolled by before a step, in either direction.
        batch: Pictures that have their statistics together; those beyond k of each class are searched as well.
    """

    plain_words = "changes noise until the network's layers see in it what they saw of the training data"
    needs = Reply.WEIGHTS

    steps: Count = 2000
    lr: LearningRate = 0.1
    bn: Weight = 10.0
    tv: Weight = 2.5e-5
    l2: Weight = 0.0
    jitter: Whole = 2
    batch: Batch = 256

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See `ClassAttack`.

        Raises:
            ConfigError: The network has no batch normalization, or its inputs are no images.
        """
        norms = Norms(view.model)
        refuse(norms, view)
        n = max(k, self.batch // len(view.targets))
        random = torch.Generator().manual_seed(view.seed)
        labels = torch.tensor(view.targets).repeat(n)
        batches = labels.to(view.device).tensor_split(-(-len(labels) // self.batch))
        found = [self._searched(view, norms, part, random) for part in batches]
        images = torch.cat([x for x, _ in found]).unflatten(0, (n, -1)).transpose(0, 1)
        losses = torch.cat([loss for _, loss in found]).view(n, -1).T
        best = losses.argsort(dim=1, stable=True)[:, :k]
        return torch.stack([of_class[rows] for of_class, rows in zip(images, best, strict=True)]).cpu()

    def _searched(
        self, view: ClassView, norms: Norms, labels: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Pictures ``(N, C, H, W)`` of these classes, and the network's loss at each, ``(N,)``."""
        low, high = -MIDDLE / UNIT, (1 - MIDDLE) / UNIT
        x = torch.randn(len(labels), *view.input.shape, generator=random).clamp(low, high).to(view.device)
        adam = torch.optim.Adam([x.requires_grad_()], self.lr)
        best, least = x.detach().clone(), torch.inf
        with norms:
            for _ in track(range(self.steps), "searching pictures"):
                shifts = torch.randint(-self.jitter, self.jitter + 1, (2,), generator=random).tolist()
                rolled = x.roll(shifts, (-2, -1))
                loss = cross_entropy(view.model(MIDDLE + UNIT * rolled).float(), labels) + self.bn * norms.gap()
                loss = loss + self.tv * variation(rolled) + self.l2 * rolled.norm()
                (x.grad,) = torch.autograd.grad(loss, x)
                if loss.item() < least:
                    best, least = x.detach().clone(), loss.item()
                adam.step()
                with torch.no_grad():
                    x.clamp_(low, high)
        images = MIDDLE + UNIT * best
        with torch.no_grad():
            return images, cross_entropy(view.model(images).float(), labels, reduction="none")


def variation(x: Tensor) -> Tensor:
    """The sum of the norms of the differences of neighbors in four directions, over a whole batch, a scalar."""
    across, down = x.diff(dim=-1), x.diff(dim=-2)
    falling, rising = x[..., 1:, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, 1:]
    norms: Tensor = across.norm() + down.norm() + falling.norm() + rising.norm()
    return norms


def refuse(norms: Norms, view: ClassView) -> None:
    """Refuse a victim whose layers have kept nothing of the training data, or whose inputs are no images."""
    if len(view.input.shape) != 3:
        raise ConfigError(f"This attack makes images (C, H, W), and the inputs have the shape {view.input.shape}.")
    if not norms.layers:
        raise ConfigError(
            "The victim has no batch normalization, whose statistics this attack compares with; take a model with "
            "some, such as resnet20, or an attack that searches pixels without them (mi-face)."
        )
