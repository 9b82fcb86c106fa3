"""Purifier: the reply is drawn again by a network that has seen the answers for samples that were not trained on.

Z. Yang, L. Wang, D. Yang, J. Wan, Z. Zhao, E.-C. Chang, F. Zhang, K. Ren, "Purifier: Defending Data Inference Attacks
via Transforming Confidence Scores", AAAI 2023. A conditional variational autoencoder takes the log-probabilities p and
the class, and gives others, q:

    min  KL(p || q) + beta * KL(z || N(0, I)),   z ~ N(mean(p, class), deviation(p, class)^2)

It learns on a reference set; what it cannot express is how a particular sample differs from others of its class. Where
the class is no longer the greatest entry, it is swapped with that which is.

Threat model: an attacker that asks for scores and may know the defense. The adaptive attack is a decoder of answers
(``background-alignment``, ``smi``) that learns on purified answers, as it does on any: it sees the same service.
Attacks that search for an input average several replies (``genetic`` with ``answers`` above 1), or go by labels.

Differs from the paper, which is known from its abstract and surveys: the sizes and the loss are this project's. Their
second part, which swaps the labels of some training samples to hide who is a member, is left out: it changes classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.answers.base import AnswerDefense, kept_class, normalized
from cutlayer.options import Count, Share, Size, Weight

if TYPE_CHECKING:
    from torch import nn

    from cutlayer.data.splits import Dataset

_HIDDEN, _BATCH, _LR = 64, 64, 3e-3
_LEAST = -20.0
"""Log-probabilities below are taken for this, so that a saturated network does not drown the rest."""


@dataclass(kw_only=True)
class Purifier(AnswerDefense):
    """Reply with probabilities that an autoencoder draws again, for the same class.

    Args:
        share: Share of the drawn probabilities in the reply; the rest is the network's own.
        size: Numbers of the sample that is drawn.
        beta: Weight of the divergence of the drawn numbers from the standard normal law.
        steps: Steps of learning.
    """

    knob = "share"
    plain_words = "draws its probabilities again from what it has seen of samples that it was not trained on"
    adaptive = ("background-alignment", "brep-mi", "genetic.answers", "label-transfer", "smi")

    share: Share = 1.0
    size: Size = 4
    beta: Weight = 0.1
    steps: Count = 600

    def learn(self, model: nn.Module, reference: Dataset, seed: int) -> None:
        """See `AnswerDefense`: the autoencoder."""
        if not self.on:
            return super().learn(model, reference, seed)
        import torch
        from torch import nn
        from torch.nn import functional

        from cutlayer.defenses.answers.replies import layers, log_probabilities

        scores = log_probabilities(model, reference).clamp(min=_LEAST)
        classes = scores.shape[1]
        given = torch.cat([scores, functional.one_hot(scores.argmax(1), classes)], 1)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            encoder = nn.Sequential(nn.Linear(2 * classes, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 2 * self.size))
            decoder = nn.Sequential(nn.Linear(self.size + classes, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, classes))
            optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], _LR)
            for _ in range(self.steps):
                x = given[torch.randint(len(given), (_BATCH,))]
                mean, log_deviation = encoder(x).chunk(2, 1)
                z = mean + log_deviation.exp() * torch.randn_like(mean)
                drawn = decoder(torch.cat([z, x[:, classes:]], 1)).log_softmax(1)
                error = functional.kl_div(drawn, x[:, :classes], log_target=True, reduction="batchmean")
                spread = (mean.square() + (2 * log_deviation).exp() - 1 - 2 * log_deviation).sum(1).mean() / 2
                optimizer.zero_grad()
                (error + self.beta * spread).backward()
                optimizer.step()
        self._learned = layers("encoder", encoder) | layers("decoder", decoder)

    def answer(self, scores: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """See `AnswerDefense`; what is drawn differs for two equal questions."""
        if not self.on:
            return scores
        from cutlayer.defenses.answers.replies import computed

        rows, top = np.arange(len(scores)), scores.argmax(1)
        of_class = np.eye(scores.shape[1], dtype=np.float32)[top]
        code = computed(self._learned, "encoder", np.hstack([scores.clip(_LEAST), of_class]))
        mean, deviation = code[:, : self.size], np.exp(code[:, self.size :])
        z = mean + deviation * rng.standard_normal(mean.shape, np.float32)
        drawn = normalized(computed(self._learned, "decoder", np.hstack([z, of_class])))
        other = drawn.argmax(1)
        drawn[rows, top], drawn[rows, other] = drawn[rows, other], drawn[rows, top]
        if self.share < 1:
            drawn = np.log((1 - self.share) * np.exp(scores) + self.share * np.exp(drawn) + 1e-30).astype(np.float32)
        return kept_class(drawn, top)
