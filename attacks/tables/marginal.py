"""The floor of a table: what a row says most often in each column, whatever was received.

The most frequent word, and of a number the one within whose tolerance most of the attacker's rows lie. No other guess
that ignores what arrives is right more often on those rows; the median is, in skewed columns, right far less often.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.tables.columns import columns_of
from cutlayer.attacks.view import View


@dataclass(kw_only=True)
class Marginal(Attack):
    """Answer with what is right most often in each column of the auxiliary rows."""

    plain_words = "always guesses the most frequent word or number of each column"
    rebuilds = ("table",)
    is_floor = True

    def fit(self, view: View) -> None:
        """Count the auxiliary rows."""
        columns_of(view)  # without columns there are no words
        self._row = torch.from_numpy(view.auxiliary.modality.floor(view.auxiliary.inputs))

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, n)``, N times the same."""
        return self._row.to(smashed.device).expand(len(smashed), -1).clone()
