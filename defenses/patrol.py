"""PATROL: more layers on the device at the same cost, pruned and trained so that little can be rebuilt from them.

S. Ding, L. Zhang, M. Pan, X. Yuan, "PATROL: Privacy-Oriented Pruning for Collaborative Inference Against Model
Inversion Attacks", WACV 2024, https://arxiv.org/abs/2307.10981. A soft mask m scales each channel of the head f; head,
tail and mask minimize, against a decoder D that learns to rebuild the image,

    L(f, m) + lipschitz * sum_i k_i - adversary * ||x - D(f(x))||^2                L: cross-entropy + sparsity * |m|_1
    k_i = sup_x ||f_i(x + d) - f_i(x)|| / ||f_(i-1)(x + d) - f_(i-1)(x)||          f_i: the first i blocks, f_0(x) = x

with d Gaussian. Then the channels with the smallest masks are removed, and what is left is trained on the same loss.

Threat model: an honest-but-curious server that knows the pruned head and trains a decoder of its own on what it sends.

Differs from the paper, whose code is not public and whose weights, pruning ratio, noise and decoder we do not know:
    - All numbers are our own, one weight stands for every block, and the task is classification.
    - Channels are structures, blocks are not. They go until the head meets the budget, the multiply-accumulates of the
      shallower head, and not below a threshold. The sparsity term acts by its subgradient.
    - The training starts from the trained model and is short; the reconstruction error is a mean of squares.
    - The supremum is the greatest ratio of a batch, and batch normalization sees the shifted images too.

A head can lower its constants by giving small numbers, which a decoder that scales its input does not mind.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.options import Epochs, LearningRate, Share, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.data.splits import Dataset, Splits
    from cutlayer.defenses.surgery.pruning import Mask
    from cutlayer.models.halves import SplitModel

SHIFT = 0.05
"""Standard deviation of d, for images in [0, 1]."""


@dataclass(kw_only=True)
class Patrol(Defense):
    """Cut deeper, prune the head to what the shallower one cost, and train it against a decoder.

    Args:
        adversary: Weight of the reconstruction error of the defender's decoder; 0 for none.
        lipschitz: Weight of each block's Lipschitz constant; 0 for none.
        deeper: The cut to move to; empty to stay at the experiment's.
        budget: Cost of the pruned head, as a part of what the head costs at the experiment's cut; 0 for no pruning.
        sparsity: Weight of the masks' absolute sum.
        decoder: Name of the defender's decoder in `cutlayer.nets.decoders`.
        epochs: Passes over the training images with masks, and as many after the removal of channels.
        lr: Greatest learning rate in both trainings.
    """

    knob = "adversary"
    kinds = ("image",)
    why_only = "it trains against a network that rebuilds pictures"

    adversary: Weight = 10.0
    lipschitz: Weight = 0.01
    deeper: str = ""
    budget: Weight = 1.0
    sparsity: Share = 0.1
    decoder: str = "conv_normN0C16"
    epochs: Epochs = 4
    lr: LearningRate = 2e-3

    def __post_init__(self) -> None:
        if min(self.adversary, self.lipschitz, self.budget, self.sparsity, self.epochs) < 0 or self.lr <= 0:
            raise ConfigError(f"{self!r}: lr must be above 0, the other numbers 0 or more.")

    @property
    def further_epochs(self) -> int:
        """Passes over the training part, twice as many where channels are removed; see the base."""
        if self.budget and (self.deeper or self.budget < 1):  # A deeper head costs more than the budget.
            return 2 * self.epochs
        return self.epochs if self.adversary or self.lipschitz else 0

    def surgery(self, split: SplitModel) -> SplitModel:
        """The deeper cut, if any, before pruning; the cut keeps its name, because loading repeats the surgery."""
        if not self.deeper:
            return split
        from cutlayer.models.graph import trace
        from cutlayer.models.halves import copied, join
        from cutlayer.models.halves import split as cut_at

        deep = cut_at(join(copied(split)), self.deeper, split.input)
        if len(trace(deep.head).graph.nodes) < len(trace(split.head).graph.nodes):
            raise ConfigError(f"patrol.deeper: {self.deeper} does not come after {split.cut}.")
        return replace(deep, cut=split.cut)

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Surgery, training with masks, removal of channels, and training of what is left."""
        from cutlayer.defenses.surgery.budget import macs, within_budget
        from cutlayer.defenses.surgery.pruning import Mask, removable, remove
        from cutlayer.models.halves import copied, join
        from cutlayer.models.widths import measured

        allowed = self.budget * sum(macs(split.head, split.input).values())
        halves = self.surgery(split)
        halves = copied(halves) if halves is split else halves
        costs = macs(halves.head, halves.input)
        pruned = 0 < allowed < sum(costs.values())
        if not pruned and not self.adversary and not self.lipschitz:
            return halves if self.deeper else split
        if pruned:
            groups = removable(join(halves), halves.head)
            masks = [Mask(channels.count) for channels in groups]
            # A budget that cannot be met is refused before the training, not after it.
            within_budget(groups, [mask.strength.detach() for mask in masks], costs, allowed)
            hooks = [mask.attach(channels) for mask, channels in zip(masks, groups, strict=True)]
            self.train(halves, masks, data.train, seed)
            for hook in hooks:
                hook.remove()
            strengths = [mask.strength.detach() for mask in masks]
            keep = within_budget(groups, strengths, costs, allowed)
            for channels, stay, factors in zip(groups, keep, strengths, strict=True):
                remove(channels, stay, factors)
            halves = measured(halves)
        # With an optimizer of its own: removal has replaced the parameters that the first one held.
        self.train(halves, [], data.train, seed + 1)
        return halves

    def train(self, split: SplitModel, masks: list[Mask], data: Dataset, seed: int) -> None:
        """Minimize the loss of the module docstring over both halves and the masks, in place."""
        import torch
        from torch.nn.functional import cross_entropy

        from cutlayer.defenses.shared.surrogate import Surrogate
        from cutlayer.defenses.surgery.blocks import blocks
        from cutlayer.machine.compute import pick_device, placed
        from cutlayer.training import optimize

        device, chain = pick_device(), blocks(split.head)
        surrogate = None
        if self.adversary:
            surrogate = Surrogate(self.decoder, split.smashed.shape, split.input.shape, seed, device, "mse")
            with placed(device, split.head, *masks):
                surrogate.pretrain(split.head, data, epochs=1)

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            if self.lipschitz:
                shift = torch.from_numpy(rng.standard_normal(images.shape, np.float32) * SHIFT).to(device)
                both = torch.cat([images, images + shift])
                # In bfloat16 the rounding of a faint block would count as its response.
                with torch.autocast(device.type, enabled=False):
                    values = chain(both)
                smashed = values[-1][: len(images)]
                total = self.lipschitz * lipschitz_constants([both, *values]).sum()
            else:
                smashed, total = split.head(images), torch.zeros((), device=device)
            total = total + cross_entropy(split.tail(smashed).float(), labels)
            for mask in masks:
                total = total + self.sparsity * mask.strength.abs().sum()
            if surrogate is not None:
                surrogate.learn(smashed, images)
                total = total + self.adversary * surrogate.quality(smashed, images)
            return total

        optimize([split.head, split.tail, *masks], data, loss, epochs=self.epochs, seed=seed, lr=self.lr, device=device)


def lipschitz_constants(values: list[Tensor]) -> Tensor:
    """The constant of each block, by its greatest ratio over a batch.

    Args:
        values: Image, and what each block gives, ``(2 N, ...)``: first for N images, then for these a little shifted.

    Returns:
        ``(blocks,)``.
    """
    import torch

    moved = [torch.linalg.vector_norm((b - a).float().flatten(1), dim=1) for a, b in (v.chunk(2) for v in values)]
    ratios = [after / before.clamp(min=1e-6) for before, after in itertools.pairwise(moved)]
    return torch.stack([ratio.max() for ratio in ratios])
