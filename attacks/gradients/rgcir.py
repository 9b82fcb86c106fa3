"""RGCIR: Inverting Gradients with clipped inputs and denoising.

Known from a survey only, which names a cosine distance, total variation, and inputs that are clipped to their bounds.

Differs from the paper: it was not at hand. The row is Inverting Gradients, whose pixels go through a median filter
after each 500 steps of the first half.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.inverting_gradients import InvertingGradients
from cutlayer.options import Whole


@dataclass(kw_only=True)
class RGCIR(InvertingGradients):
    """Match the cosine by Adam on signs, with total variation, and filter the pixels now and then."""

    plain_words = "changes noise into a picture with the same gradient, and removes the noise that is left now and then"

    denoise: Whole = 500
