"""Adversarial representation learning: the head learns its task against a decoder that learns to rebuild.

    min over head and tail, max over D:  CE(y) + weight * quality(D(z), x)             z = head(x)

where the quality is the mean SSIM (DeepObfuscator, A. Li et al., IoTDI 2021, https://arxiv.org/abs/1909.04126) or the
negative mean squared error (the baseline `advLearning` of Crafter, S. Wang et al., NDSS 2024). The first one's decoder
and model take turns in each batch, the second one's in whole epochs (`turns`).

Threat model: an honest-but-curious server that knows the head and can query it, and trains decoders of its own. It is a
game against one decoder; another one that is trained afterwards, from scratch, owes nothing to its outcome.

Differs from the papers:
    - Training starts from the trained victim and lasts few epochs, with AdamW and a one-cycle learning rate.
    - One weight; SIMBA's DeepObfuscator weighs the task by 0.5 and the decoder by 0.5, which is a weight of 1 here. Its
      second adversary, for a private attribute, is left out.
    - Crafter's error is the norm of the difference over the number of pixels; here it is the mean square.
    - Decoder and model learn from the same images (Crafter: the decoder from public ones).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cutlayer.defenses.shared.beside import LearnsBeside
from cutlayer.errors import ConfigError
from cutlayer.options import Epochs, LearningRate, Weight

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel

BATCH = 64
TURNS = ("batches", "epochs")


@dataclass(kw_only=True)
class Adversarial(LearnsBeside):
    """Train head and tail for their task and against a decoder, in turns with it.

    Args:
        weight: Weight of the decoder's quality beside the cross-entropy.
        measure: Measure of that quality: ``ssim`` or ``mse``. A mean squared error is of the order of 0.01, so it needs
            a weight of 10 and more.
        decoder: Name of the decoder in `cutlayer.nets.decoders`.
        turns: Whether model and decoder take turns in ``batches`` or in ``epochs``.
        pretrain_epochs: Epochs for which the decoder learns before the first turn.
        epochs: Passes of the model over the training images.
        lr: Greatest learning rate of the model.
    """

    knob = "weight"
    kinds = ("image",)
    why_only = "it trains against a network that rebuilds pictures"

    weight: Weight = 1.0  # SIMBA's DeepObfuscator: alpha = 0.5
    measure: str = "ssim"
    decoder: str = "res_normN4C64"
    turns: str = "batches"
    pretrain_epochs: Epochs = 1
    epochs: Epochs = 4
    lr: LearningRate = 2e-3

    def __post_init__(self) -> None:
        if min(self.weight, self.pretrain_epochs, self.epochs) < 0 or self.lr <= 0:
            raise ConfigError(f"{self!r}: lr must be above 0, the other numbers 0 or more.")
        if self.turns not in TURNS:
            raise ConfigError(f"adversarial.turns must be {' or '.join(TURNS)}, not {self.turns!r}.")

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.weight else 0

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Train copies of the halves; the structure stays as it is."""
        if not self.weight:
            return split
        from torch.nn.functional import cross_entropy

        from cutlayer.defenses.shared.surrogate import Surrogate
        from cutlayer.machine.compute import pick_device, placed
        from cutlayer.models.halves import copied
        from cutlayer.training import optimize

        split, device, batches = copied(split), pick_device(), 0
        surrogate = Surrogate(self.decoder, split.smashed.shape, split.input.shape, seed, device, self.measure)
        with placed(device, split.head):
            surrogate.pretrain(split.head, data.train, self.pretrain_epochs, BATCH)

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            nonlocal batches
            if self.turns == "epochs" and batches and batches % -(-len(data.train) // BATCH) == 0:
                surrogate.pretrain(split.head, data.train, 1, BATCH)
            batches += 1
            smashed = split.head(images)
            if self.turns == "batches":
                surrogate.learn(smashed, images)
            task = cross_entropy(split.tail(smashed).float(), labels)
            return task + self.weight * surrogate.quality(smashed, images)

        optimize(
            [split.head, split.tail], data.train, loss,
            epochs=self.epochs, seed=seed, lr=self.lr, batch=BATCH, device=device,
        )  # fmt: skip
        return split

    def penalty(self, inputs: Tensor, smashed: Tensor) -> Tensor | None:
        """The weighted quality of the decoder, after it has learned from the batch; see the base."""
        if not self.weight:
            return None
        surrogate, _ = self.beside(inputs, smashed, self.measure)
        surrogate.learn(smashed, inputs)
        return self.weight * surrogate.quality(smashed, inputs)
