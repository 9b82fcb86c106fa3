"""EMI: one generator, learned from several models of the same subjects and from no data at all.

Q. Wang, D. Kurz, "Reconstructing Training Data from Diverse ML Models by Ensemble Inversion", WACV 2022. From the
description, for no code is published: the generator's images are to be known by every model, surely, and to excite its
last features; the statistics of batch normalization are added where a model has them.
`cutlayer.attacks.answers.taught.ensemble` has the terms, whose weights are this project's own.

All networks of the view are the ensemble: several victims, or the rounds of a training. With one, it is the paper's
baseline of a single model; of digits it then drew nearly one picture for each class, with a tenth of the diversity of
real ones (300 training steps). Of the images drawn for a class, those that all networks are surest of are shown.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.search import Search
from cutlayer.options import Size, Whole


@dataclass(kw_only=True)
class EMI(Search):
    """Learn a generator of what all models know, and show what they know best."""

    plain_words = "learns to draw what all models take for the class, from the models alone"

    prior: str = "ensemble"
    width: Size = 16
    prior_steps: Whole = 1000
    steps: Whole = 0
    starts: Whole = 100
    every: bool = True
