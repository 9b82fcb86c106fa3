"""How a model by name begins: with which weights, and how its images are normalized. Nothing here imports torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """Where a model's weights come from, and what is done to its images first.

    Attributes:
        weights: File of the weights, see `cutlayer.models.weights`; random weights when empty.
        mean: Values that are subtracted from images in [0, 1], one for each channel or one for all.
        std: Values by which the result is divided.

    Where `mean` and `std` are both empty: a model of the user's own gets the images as they are; a model by name those
    that its published weights were trained with where a file of weights is given, and images in [-1, 1] otherwise.
    """

    weights: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


RANDOM = Start()
"""Random weights."""
