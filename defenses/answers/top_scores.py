"""Top scores: the reply tells the probabilities of the likeliest classes, and nothing of the others.

As services do, which reply with a class and some alternatives. M. Fredrikson, S. Jha, T. Ristenpart, CCS 2015, and
R. Shokri et al., "Membership Inference Attacks Against Machine Learning Models", S&P 2017, section VII, name it beside
rounding.

Threat model: an attacker that asks for scores. A class that is not told gives a search nothing to climb until it is
among the told ones, from which on all is as before: the adaptive attack begins with inputs that the model takes for the
class already (``genetic`` and ``nearest-auxiliary`` do), or needs labels alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.options import Whole


@dataclass(kw_only=True)
class TopScores(AnswerDefense):
    """Reply with the probabilities of the likeliest classes alone.

    Args:
        kept: Number of classes that are told; 0 for all.
    """

    knob = "kept"
    plain_words = "replies with the probabilities of the likeliest classes alone"
    adaptive = ("brep-mi", "genetic", "label-transfer", "lokt")

    kept: Whole = 1

    def answer(self, scores: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """See `AnswerDefense`; what is told is not made to sum to 1."""
        if not self.on or self.kept >= scores.shape[1]:
            return scores
        told = np.full_like(scores, -1000)
        # Sorted stably, so that of equal scores the first is kept, which is the class.
        kept = np.argsort(-scores, axis=1, kind="stable")[:, : self.kept]
        np.put_along_axis(told, kept, np.take_along_axis(scores, kept, 1), 1)
        return told
