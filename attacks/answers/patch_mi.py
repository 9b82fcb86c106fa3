"""Patch-MI: a generator that the victim is to know, made of patches like those of the attacker's images.

J. Jang, H. Lyu, H. J. Yang, "Patch-MI: Enhancing Model Inversion Attacks via Patch-Based Reconstruction", 2023.
From the description, for no code of the authors is published: a critic that sees patches of a quarter of the side, so
that images of other things than the victim's are of use; random changes of an image before the victim sees it; a
generator for all classes. `cutlayer.attacks.answers.taught.patch` has the terms.

Differs from the paper: the networks and the numbers of steps are this project's. Of the images drawn for a class, those
that the victim is surest of over random changes are shown.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.search import Search
from cutlayer.options import Share, Size, Weight, Whole


@dataclass(kw_only=True)
class PatchMI(Search):
    """Learn a generator of classes under a critic of patches, and show what the victim is surest of."""

    plain_words = "puts pictures together from patches like those of own pictures, until the model knows them"

    prior: str = "patch"
    width: Size = 16
    prior_steps: Whole = 1000
    steps: Whole = 0
    starts: Whole = 100
    crop: Share = 0.8
    rotate: Weight = 5.0
    votes: Whole = 8
