"""Defenses of updates that the literature names and that are not built, each with the reason.

They are listed so that nobody has to look for them twice.
"""

from dataclasses import dataclass

from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.registry import Missing


@dataclass(kw_only=True)
class Guardian(Missing, UpdateDefense):
    """Guardian: a gradient that is optimised for a measure of utility and one of privacy."""

    explanation = "Not built: Guardian optimises the gradient for two measures whose formulas are in the paper alone."
    knob = ""
    plain_words = "sends a gradient that is optimised to be useful and to tell little"


@dataclass(kw_only=True)
class GradPrivacy(Missing, UpdateDefense):
    """GradPrivacy: amplitudes of the gradient are perturbed, and the deviation of the mean is corrected."""

    explanation = (
        "Not built: GradPrivacy perturbs amplitudes of the gradient and corrects the deviation by formulas that are in "
        "the paper alone; `noise` and `prune` are the nearest built ones."
    )
    knob = ""
    plain_words = "perturbs amplitudes of the gradient and corrects what that shifts"


@dataclass(kw_only=True)
class StatisticalDistillation(Missing, UpdateDefense):
    """Statistical distillation: a model that is trained on statistics of the data, which another model passes on."""

    explanation = (
        "Not built: distillation of statistical features (Gao 2024) is known from a survey alone; what a release of a "
        "table's statistics leaks is measured by benchmarks/table_attributes.py."
    )
    knob = ""
    plain_words = "trains on released statistics in place of samples"
