"""Label smoothing: the network is trained on labels that are a little wrong, or, with a negative share, too sure.

L. Struppek, D. Hintersdorf, K. Kersting, "Be Careful What You Smooth For: Label Smoothing Can Be a Privacy Shield but
Also a Catalyst for Model Inversion Attacks", ICLR 2024:

    loss = (1 - alpha) * -log p_label + alpha * mean over the classes of -log p

With a positive alpha, as in ordinary training, inversion is easier; with a negative one it is harder. In the authors'
code (github.com/LukasStruppek/Plug-and-Play-Attacks, and as it is repeated in github.com/ntuaislab/Trap-MID @87d93d2)
a negative alpha is 0 for the first half of the epochs, then grows linearly, and jumps to its full value at three
quarters, where the ramp has only reached half.

Threat model: an attacker with the weights or with scores. A negative alpha saturates the log-probability of the class,
and an attack that climbs it finds no slope. The adaptive attack climbs the margin over the next class, which stays:
``margin`` with the weights, and ``genetic`` with the loss ``margin`` with scores.

Differs from the paper:
    - The ramp ends at the full value, without a jump. A positive alpha holds from the first step.
    - The mean of ``-log p`` has no upper bound, so that a negative alpha rewards ever greater logits, and small
      networks diverge. Here its gradient ends where the mean over a sample's classes has reached `most` nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.options import Weight, Within

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Dataset

_BATCH = 64


@dataclass(kw_only=True)
class LabelSmoothing(AnswerDefense):
    """Train on smoothed labels, with a share of either sign.

    Args:
        alpha: Share of the label that all classes have together; negative for the opposite of smoothing.
        most: Where the gradient of the second term ends, in nats.
    """

    knob = "alpha"
    adaptive = ("genetic.loss", "margin")
    plain_words = "trains on labels that are less sure, or surer, than the truth"

    alpha: Annotated[float, Within(-1, 0.99)] = -0.05  # the authors', as a defense
    most: Weight = 20.0

    def train(
        self, model: nn.Module, data: Dataset, public: Dataset, *, epochs: int, seed: int, lr: float = 2e-3
    ) -> None:
        """See `AnswerDefense`."""
        if not self.on:
            return super().train(model, data, public, epochs=epochs, seed=seed, lr=lr)
        from cutlayer.training import optimize

        total, step = max(1, epochs * -(-len(data) // _BATCH)), 0

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            nonlocal step
            alpha = self.alpha if self.alpha > 0 else self.alpha * ramp(step / total)
            step += 1
            wrong = -model(images).float().log_softmax(1)
            even = wrong.mean(1).clamp(max=self.most)
            value: Tensor = ((1 - alpha) * wrong.gather(1, labels[:, None])[:, 0] + alpha * even).mean()
            return value

        optimize([model], data, loss, epochs=epochs, seed=seed, lr=lr, batch=_BATCH)


def ramp(done: float) -> float:
    """Share of a negative alpha after a share of the training: 0 until half, 1 from three quarters on."""
    return min(1.0, max(0.0, 4 * done - 2))
