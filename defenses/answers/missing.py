"""Defenses of answers that the literature names and that are not built, each with the reason.

They are listed so that nobody has to look for them twice.
"""

from dataclasses import dataclass

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.registry import Missing


@dataclass(kw_only=True)
class AugmentedDp(Missing, AnswerDefense):
    """Augmented differential privacy: noise, and a second technique, for models that are published to be read."""

    explanation = (
        "Not built: augmented differential privacy (Alufaisan 2021) complements the noise in models that are published "
        "to be read, by a technique that is known from its abstract alone; `class-dp` adds the noise, for a class or a "
        "record."
    )
    knob = ""
    plain_words = "publishes a model with noise and with a second protection"


@dataclass(kw_only=True)
class Gnime(Missing, AnswerDefense):
    """GNIME: noise on the explanations of answers, learned in turns with a network that inverts them."""

    explanation = (
        "Not built: GNIME (Jeong 2022) learns noise for the explanations of answers, and a server of cutlayer replies "
        "without any; only a plan can grant them, to measure what `xai` gains."
    )
    knob = ""
    plain_words = "adds learned noise to the explanation of an answer"


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


@dataclass(kw_only=True)
class InversionGuided(Missing, AnswerDefense):
    """Inversion-guided detection: the server inverts what a client asks, and refuses who steals the model."""

    explanation = (
        "Not built: the inversion-guided defense (Zhou 2024) finds clients that steal a model by inverting what they "
        "ask, and is known from its abstract alone; `cutlayer cloud --usual` flags clients by a distance instead."
    )
    knob = ""
    plain_words = "inverts what a client asks, and refuses those who ask for no sample of their own"


@dataclass(kw_only=True)
class PrunedEnsembles(Missing, AnswerDefense):
    """Ensembles of pruned networks, for devices of few resources."""

    explanation = (
        "Not built: ensembles of pruned networks (Alhalabi 2023) are cited by the surveys without a recipe; the "
        "nearest built one is `patrol` at the cut, which prunes the device's half."
    )
    knob = ""
    plain_words = "answers with the mean of several pruned networks"
