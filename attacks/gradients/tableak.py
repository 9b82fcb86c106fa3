"""TabLeak: rows of a table, from an ensemble of searches.

M. Vero, M. Balunović, D. I. Dimitrov, M. Vechev, "TabLeak: Tabular Data Leakage in Federated Learning", ICML 2023,
https://arxiv.org/abs/2210.01785; code https://github.com/eth-sri/tableak at commit 6b8c1c8. Settings: one minus the
cosine, shares of the flags of each word by a softmax, numbers by a sigmoid within their bounds, uniform first values,
Adam on signs with learning rate 0.06, 1,500 steps, 30 searches. The rows of all searches are put in the order of the
best search, by least distances, and the answer is their median.

Differs from the paper: labels are found (``counts``), where theirs are given; rows are put in order by the squared
distance; words and bounds of numbers are those of the attacker's own rows; the learning rate falls along a cosine, with
which fewer searches do; searches whose objective is far above the best do not vote.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cutlayer.attacks.gradients.base import Recovered
from cutlayer.attacks.gradients.matching import Matching
from cutlayer.attacks.gradients.priors import Table
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.options import Count, LearningRate

ARRIVED, EXACT = 4.0, 1e-6
"""A search votes whose objective is at most so many times that of the best, or of what rounding leaves of nothing."""


@dataclass(kw_only=True)
class TabLeak(Matching):
    """Match the cosine over rows with words as shares, and take the median of all restarts; see `Matching`."""

    plain_words = "searches rows of a table many times over, and takes what most searches agree on"

    prior: str = "table"
    iterations: Count = 1500
    lr: LearningRate = 0.06
    schedule: str = "cosine"
    restarts: Count = 30

    def _chosen(self, view: UpdateView, samples: Tensor, labels: Tensor, objective: Tensor) -> Recovered:
        """The median of all restarts, whose rows are first put in the order of the best one's."""
        objective = objective.nan_to_num(torch.inf)
        best = int(objective.argmin())
        # A search that has not arrived does not vote; where none has, all do.
        kept = (objective <= ARRIVED * objective[best].clamp(min=EXACT)).nonzero()[:, 0].tolist() or [best]
        aligned = torch.stack([self._in_order(samples[k], labels[k], samples[best], labels[best]) for k in kept])
        rows = Table(samples.shape[1], torch.from_numpy(view.auxiliary.inputs).to(samples.device)).hard(
            aligned.median(0).values
        )
        return Recovered(rows.nan_to_num(0).cpu(), labels[best].cpu())

    @staticmethod
    def _in_order(rows: Tensor, labels: Tensor, best: Tensor, of: Tensor) -> Tensor:
        """The rows in the order of those of the best search; a row goes to one of its own class."""
        distances = (best[:, None] - rows[None]).square().sum(2)
        distances += (of[:, None] != labels[None]) * best.shape[1] * 2.0
        order = linear_sum_assignment(np.asarray(distances.double().cpu()))[1]
        return rows[torch.from_numpy(order).to(rows.device)]
