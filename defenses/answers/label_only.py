"""Label only: the reply tells the class, and no score.

M. Fredrikson, S. Jha, T. Ristenpart, "Model Inversion Attacks that Exploit Confidence Information and Basic
Countermeasures", CCS 2015, section 6: the less a reply tells of the confidences, the less gradient there is to follow.
What it is worth is the difference between attacks on scores and attacks on labels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.answers.base import AnswerDefense


@dataclass(kw_only=True)
class LabelOnly(AnswerDefense):
    """Reply with the class alone."""

    knob = ""
    plain_words = "replies with the class alone"
    label_only = True
    adaptive = ("brep-mi", "label-diffusion", "label-transfer", "lokt")

    def answer(self, scores: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """See `AnswerDefense`: 0 for the class, and -1000 for the others."""
        told = np.full_like(scores, -1000)
        told[np.arange(len(scores)), scores.argmax(1)] = 0
        return told
