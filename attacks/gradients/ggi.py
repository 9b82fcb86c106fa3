"""GGI: the latent vectors of a generator alone.

Known from a survey only, as gradient inversion over the latent space of a generator that was trained before.

Differs from the paper: it was not at hand. The row is the first stage of GIAS, with a generator that is trained on the
attacker's own samples.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.gias import GIAS


@dataclass(kw_only=True)
class GGI(GIAS):
    """Search latent vectors of a generator by Adam."""

    plain_words = "finds a generated picture with a like gradient"

    prior: str = "latent"
