"""Output matching on pixels: descent on the image itself until the victim is sure.

M. Fredrikson, S. Jha, T. Ristenpart, "Model Inversion Attacks that Exploit Confidence Information and Basic
Countermeasures", CCS 2015, section 5 (MI-Face). It always reaches the confidence. On digits that is noise alone,
which shows what confidence is worth; what it makes of a shallow recognizer of faces is a leak.

Differs from the paper:

- Cross-entropy in place of ``1 - p``, whose gradient is 0 where the class is unlikely at first; Adam in place of plain
  steps; no stopping rule; no denoising, which the paper has for its autoencoder alone.
- The search starts at grey with a little noise, so that k images differ. From the mean of the attacker's images, which
  is a prior (`prior` = ``mean-image``), it keeps so much of a shape that judges recognize more.
- The paper's variant without weights estimates each step from two questions for each pixel, which took it days; it is
  not here. The attacks for SCORES ask less.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.search import Search
from cutlayer.options import Count, LearningRate


@dataclass(kw_only=True)
class MiFace(Search):
    """Search pixels, without a prior."""

    plain_words = "changes the pixels of a blank or mean picture until the model is sure of the class"

    prior: str = "pixels"
    loss: str = "cross-entropy"
    steps: Count = 300
    lr: LearningRate = 0.02
