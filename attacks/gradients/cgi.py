"""CGI: several updates of the same samples, from several rounds or several servers, matched together.

Samples that a client trains on again and again are seen again and again, each time through another model. Known from a
survey only, which names it for several servers; the objective is the sum over what was observed.

Differs from the paper: it was not at hand. Settings are those of Inverting Gradients.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.inverting_gradients import InvertingGradients
from cutlayer.options import Whole


@dataclass(kw_only=True)
class CGI(InvertingGradients):
    """Match all updates together, which are of the same samples."""

    plain_words = "looks for the picture that explains all updates of the same samples at once"

    rounds: Whole = 0
