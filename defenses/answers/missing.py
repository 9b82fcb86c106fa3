"""Defenses of answers that the literature names and that are not built, each with the reason.

They are listed so that nobody has to look for them twice.
"""

from dataclasses import dataclass

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.registry import Missing


@dataclass(kw_only=True)
class HybridMasking(Missing, AnswerDefense):
    """Adaptive hybrid masking: training images are mixed with others in frequencies that a learned policy chooses."""

    explanation = (
        "Not built: adaptive hybrid masking (Huang 2024) mixes images in frequencies by a policy of reinforcement "
        "learning that is known from its abstract alone; `perceptual-hash` and `random-erasing` change images, too."
    )
    knob = ""
    plain_words = "trains on images that are mixed with others, frequency by frequency"


@dataclass(kw_only=True)
class NetGuard(Missing, AnswerDefense):
    """NetGuard: generated samples of other classes mislead an inversion, and continual learning keeps the task."""

    explanation = (
        "Not built: NetGuard (2023) chooses its generated samples and its continual learning by rules that are known "
        "from its abstract alone; `trap-mid` is the built defense that misleads an inversion."
    )
    knob = ""
    plain_words = "trains on generated samples as well, which an attack finds in place of the true ones"
