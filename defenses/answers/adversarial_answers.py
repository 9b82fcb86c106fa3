"""Adversarial answers: the reply is moved to where the defender's own decoder of answers errs most.

J. Wen, S.-M. Yiu, L. C. K. Hui, "Defending Against Model Inversion Attack by Adversarial Examples", CSR 2021: the
server trains a model that rebuilds inputs from answers, and moves each answer along the gradient that makes this model
err, while its class stays.

With the log-probabilities s, less their mean, and a decoder D, a few steps of the sign of the gradient climb

    max over s'  ||D(s') - D(s)||^2,   |s' - s| <= reach in each entry, the class of s' that of s

from a random start. D(s) stands for the input, which the server does not have: it gets smashed data. D is a network of
two layers to the first principal components of the reference set, and computes in numpy.

Threat model: an attacker that rebuilds inputs from answers. The adaptive one learns its decoder on moved answers, from
the same service (``background-alignment``, ``smi``). An attacker that searches for an input with a high score is helped
as little as it is hindered: the order of two replies for one class changes only where their scores are near.

Differs from the paper, which is known from its abstract and surveys: the decoder, the steps and the bound are this
project's, and the error is that from D(s) and not from the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.answers.base import AnswerDefense, kept_class, normalized
from cutlayer.options import Count, Weight

if TYPE_CHECKING:
    from torch import nn

    from cutlayer.data.splits import Dataset

_COMPONENTS, _HIDDEN, _BATCH, _LR = 32, 128, 64, 3e-3
_LEAST = -20.0


@dataclass(kw_only=True)
class AdversarialAnswers(AnswerDefense):
    """Reply with probabilities that mislead a decoder of answers, for the same class.

    Args:
        reach: Greatest change of a log-probability, in nats, before all are made to sum to 1 again.
        steps: Steps of the search for the change.
        learning: Steps in which the defender's own decoder learns.
    """

    knob = "reach"
    plain_words = "moves its probabilities to where its own attempt to rebuild the input fails most"
    adaptive = ("background-alignment", "smi")

    reach: Weight = 2.0
    steps: Count = 5
    learning: Count = 600

    def learn(self, model: nn.Module, reference: Dataset, seed: int) -> None:
        """See `AnswerDefense`: the decoder."""
        if not self.on:
            return super().learn(model, reference, seed)
        import torch
        from torch import nn
        from torch.nn import functional

        from cutlayer.defenses.answers.replies import layers, log_probabilities

        scores = _centered(log_probabilities(model, reference).numpy())
        flat = reference.inputs.reshape(len(reference), -1)
        flat = flat - flat.mean(0)
        _, _, directions = np.linalg.svd(flat[:1000], full_matrices=False)
        inputs, targets = torch.from_numpy(scores), torch.from_numpy(flat @ directions[:_COMPONENTS].T)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            decoder = nn.Sequential(
                nn.Linear(inputs.shape[1], _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, targets.shape[1])
            )
            optimizer = torch.optim.Adam(decoder.parameters(), _LR)
            for _ in range(self.learning):
                rows = torch.randint(len(inputs), (_BATCH,))
                loss = functional.mse_loss(decoder(inputs[rows]), targets[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self._learned = layers("decoder", decoder)

    def answer(self, scores: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """See `AnswerDefense`."""
        if not self.on:
            return scores
        from cutlayer.defenses.answers.replies import computed, slope

        true, reach = _centered(scores), np.float32(self.reach)
        image = computed(self._learned, "decoder", true)
        moved = true + (rng.random(true.shape, np.float32) - np.float32(0.5)) * reach
        for _ in range(self.steps):
            apart = computed(self._learned, "decoder", moved) - image
            moved += np.sign(slope(self._learned, "decoder", moved, apart)) * (2 * reach / self.steps)
            np.clip(moved, true - reach, true + reach, out=moved)
        return kept_class(normalized(moved), scores.argmax(1))


def _centered(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    clipped = scores.clip(_LEAST)
    centered: NDArray[np.float32] = clipped - clipped.mean(1, keepdims=True)
    return centered
