"""The floor: the most frequent token of the attacker's own sentences at every place, whatever was received.

Needs no knowledge of the model at all. An attack that does not beat it has learned nothing about a sentence but its
length, which anybody sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.tokens.pairs import present
from cutlayer.attacks.view import View
from cutlayer.sequences import PAD


@dataclass(kw_only=True)
class TokenFrequency(Attack):
    """Answer with the most frequent token, but for the marks that a tokenizer itself puts at known places."""

    plain_words = "always guesses the most frequent word"
    rebuilds = ("tokens",)
    is_floor = True

    def fit(self, view: View) -> None:
        """Count the attacker's own tokens."""
        own = view.auxiliary
        self._usual = torch.from_numpy(own.modality.floor(own.inputs))

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, T, width)`` -> ids ``(N, T)``, the same at each place of a sentence."""
        return torch.where(present(smashed), self._usual.to(smashed.device), PAD)
