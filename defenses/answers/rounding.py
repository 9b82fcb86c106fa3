"""Rounding: the reply tells each probability as a multiple of a step.

M. Fredrikson, S. Jha, T. Ristenpart, "Model Inversion Attacks that Exploit Confidence Information and Basic
Countermeasures", CCS 2015, section 6: the authors round to multiples of .001 to .05, and see their attack by numerical
gradients fail at the coarsest, because a small change of the input no longer changes the reply.

Threat model: an attacker that asks for scores. Searches without gradients compare scores that are far apart, and labels
are told as before: the adaptive attacks are those that need labels alone (``brep-mi``, ``label-transfer``), and
``genetic``, to which a rounded score is still an order.

Differs from the paper: two classes that are rounded to the same greatest probability are told apart by a thousandth of
a nat, because the service names the class as well. What does not sum to 1 after rounding is not made to.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.answers.base import AnswerDefense, kept_class
from cutlayer.options import Share


@dataclass(kw_only=True)
class Rounding(AnswerDefense):
    """Reply with probabilities that are rounded to multiples of a step.

    Args:
        step: The step; 0 for none. The class itself is never told as 0.
    """

    knob = "step"
    plain_words = "rounds the probabilities that it replies with"
    adaptive = ("brep-mi", "genetic", "label-transfer", "lokt")

    step: Share = 0.05  # the coarsest of Fredrikson et al. 2015

    def answer(self, scores: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """See `AnswerDefense`; a probability that is rounded to 0 is told as -1000."""
        if not self.on:
            return scores
        rounded = np.minimum(np.rint(np.exp(scores.astype(np.float64)) / self.step) * self.step, 1)
        rows, top = np.arange(len(scores)), scores.argmax(1)
        rounded[rows, top] = np.maximum(rounded[rows, top], self.step)
        told = np.full(scores.shape, -1000.0)
        np.log(rounded, out=told, where=rounded > 0)
        return kept_class(told.astype(np.float32), top)
