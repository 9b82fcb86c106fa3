"""The floor: the mean of the attacker's own images, whatever was received.

Needs no knowledge of the model at all. An attack that does not beat it has learned nothing about the input, and a
defense that pushes every attack down to it has left nothing to learn (as far as those attacks go).
"""

from dataclasses import dataclass

from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.queries import auxiliary_images
from cutlayer.attacks.view import View


@dataclass(kw_only=True)
class MeanImage(Attack):
    """Answer with the mean of the auxiliary images, which minimizes the expected squared error without any input."""

    plain_words = "always guesses the average picture"
    is_floor = True

    def fit(self, view: View) -> None:
        """Average the auxiliary images."""
        self._mean = auxiliary_images(view).mean(dim=0)

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, *input.shape)``, N times the same."""
        return self._mean.to(smashed.device).expand(len(smashed), *self._mean.shape).clone()
