"""Temperature: the reply tells probabilities that are nearer to each other, or farther apart, than the network's.

The reply is ``log softmax(scores / temperature)``. R. Shokri et al., "Membership Inference Attacks Against Machine
Learning Models", S&P 2017, section VII ("Increase entropy of the prediction vector"), propose it against an attack on
replies.

Threat model: an attacker that asks for scores. The map has an inverse, up to the precision of float32: who knows the
temperature multiplies by it and has the network's own reply. The adaptive attack is therefore any attack on scores, and
the defense is worth nothing against it; the order of two replies for one class may change, which is all that it does to
an attacker who does not know of it. It is listed so that this is measured and not believed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.answers.base import AnswerDefense, normalized
from cutlayer.options import Weight


@dataclass(kw_only=True)
class Temperature(AnswerDefense):
    """Reply with probabilities at another temperature.

    Args:
        temperature: What the scores are divided by, above 1 for more even probabilities; 0 and 1 leave them.
    """

    knob = "temperature"
    plain_words = "makes the probabilities that it replies with more even"

    temperature: Weight = 4.0

    @property
    def on(self) -> bool:
        """Whether the defense does anything."""
        return self.temperature not in (0, 1)

    def answer(self, scores: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """See `AnswerDefense`."""
        return normalized(scores / np.float32(self.temperature)) if self.on else scores
