"""Background alignment: a network that is trained to turn a model's answers back into the inputs.

Z. Yang, J. Zhang, E. Chang, Z. Liang, "Neural Network Inversion in Adversarial Setting via Background Knowledge
Alignment", CCS 2019; code github.com/yziqi/adversarial-model-inversion @c421bbc. The attacker asks the victim about its
own inputs and learns the way back; then it inverts the answers that it has seen of other inputs. It is the attack
`decoder` on features, with the answers in place of the smashed data.

Differs from the paper:

- Log-probabilities are shifted by 50 and cut at 0, as in their code, so that what a reply does not tell is 0.
- The network is one of `cutlayer.nets.decoders`, smaller than theirs, and sees fewer images in fewer passes.
- The weights are those of the last step. Their code keeps those with the least error on the victim's training images,
  which no attacker can compute.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cutlayer.attacks.answers.base import AnswerAttack, Seen
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.nets.decoders import build, parse
from cutlayer.nets.grid import standardize
from cutlayer.options import Batch, Count, LearningRate, Whole
from cutlayer.training import optimize

SHIFT = 50.0
"""Added to log-probabilities; what is below 0 then is 0."""
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Rebuilt pictures, true ones, and the positions of these among the attacker's own, to a scalar."""
_CHUNK = 512


@dataclass(kw_only=True)
class BackgroundAlignment(AnswerAttack):
    """Train a decoder of answers on the attacker's own inputs.

    Args:
        capacity: Name of a network in `cutlayer.nets.decoders`.
        images: The attacker's own inputs that it asks about, at most; 0 for all.
        epochs: Passes over them.
        lr: Greatest learning rate of the cycle.
        batch: Inputs per step.
    """

    plain_words = "trains a network that turns the answers back into pictures"
    needs = Reply.SCORES

    capacity: str = "conv_normN2C32"
    images: Whole = 5000
    epochs: Count = 30
    lr: LearningRate = 2e-3
    batch: Batch = 128

    def __post_init__(self) -> None:
        parse(self.capacity)

    def invert(self, view: ClassView, seen: Seen) -> Tensor:
        """See `AnswerAttack`.

        Raises:
            ConfigError: The inputs are no pictures.
        """
        if len(view.input.shape) != 3 or (view.input.low, view.input.high) != (0, 1):
            raise ConfigError(f"This attack rebuilds pictures (C, H, W) in [0, 1], and the victim takes {view.input}.")
        evidence = self.evidence(seen)
        order = torch.randperm(len(view.auxiliary), generator=torch.Generator().manual_seed(view.seed))
        own = view.auxiliary.at(order[: self.images or len(order)].numpy())
        network = self._trained(view, own, self.observed(view, torch.from_numpy(own.inputs)))
        with torch.no_grad():
            rebuilt = [network(part.to(view.device)).float().cpu() for part in evidence.split(_CHUNK)]
        return torch.cat(rebuilt).clamp(0, 1)

    def observed(self, view: ClassView, inputs: Tensor) -> Seen:
        """What the attacker gets for inputs of its own."""
        return Seen(view.service.scores(inputs))

    def evidence(self, seen: Seen) -> Tensor:
        """What the decoder is given of each answer, ``(N, D)``."""
        return (seen.scores + SHIFT).relu()

    def loss(self, view: ClassView, own: Dataset, seen: Seen) -> Loss:
        """What the training minimizes, given rebuilt and true pictures and the positions of these in `own`."""
        return lambda rebuilt, images, positions: mse_loss(rebuilt, images)

    def _trained(self, view: ClassView, own: Dataset, seen: Seen) -> nn.Module:
        evidence = self.evidence(seen)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)
            network = build(self.capacity, tuple(evidence.shape[1:]), view.input.shape)
        standardize(network, evidence[:_CHUNK])
        loss, given = self.loss(view, own, seen), evidence.to(view.device)

        def of_batch(images: Tensor, positions: Tensor, rng: np.random.Generator) -> Tensor:
            return loss(network(given[positions]).float(), images, positions)

        numbered = Dataset(own.inputs, np.arange(len(own)), own.modality)
        optimize(
            [network], numbered, of_batch, epochs=self.epochs, seed=view.seed, lr=self.lr, batch=self.batch,
            weight_decay=0, device=view.device,
        )  # fmt: skip
        return network.to(view.device)
