"""SplitOut: the client trains a small model of its own, and looks for gradients that are outliers among those.

E. Erdogan, U. Tekşen, M. S. Çeliktenyıldız, A. Küpçü, A. E. Çiçek, "SplitOut: Out-of-the-Box Training-Hijacking
Detection in Split Learning via Outlier Detection", CANS 2024: a local outlier factor with ``n - 1`` neighbors, fitted
to gradients of the first layer which the client has simulated with a tail of its own; majority over a window.

Threat model: a server that answers with gradients of something else than the task.

Differs from the paper: the suspicion is the mean outlier factor over the window, in place of a vote of thresholds at
1.5; the gradients are divided by the mean length of the simulated ones.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cutlayer.defenses.detectors.base import Detector, Watched
from cutlayer.errors import ConfigError
from cutlayer.options import Count, Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

SHARE = 4
"""Batches of samples that the client's own training uses again and again."""


@dataclass(kw_only=True)
class SplitOut(Detector):
    """Suspect a server whose gradients are outliers among those that the client has simulated.

    Args:
        window: Number of the last steps over which the factor is averaged.
        steps: Number of steps that the client simulates.
    """

    plain_words = "compares the gradients with those of a small training of its own"

    window: Count = 10
    steps: Count = 40
    threshold: Weight = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._factors: list[float] = []
        self._model: Any = None

    def prepare(self, head: nn.Module, tail: nn.Module, inputs: Tensor, labels: Tensor, batch: int, lr: float) -> None:
        """See the base; train copies of the head and of a new tail on a share of the samples."""
        import torch
        from torch.nn import functional

        own = copy.deepcopy(head).train(), copy.deepcopy(tail).train()
        for module in own[1].modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        optimizer = torch.optim.Adam([p for part in own for p in part.parameters()], lr)
        first, rows, share = next(own[0].parameters()), [], min(len(inputs), SHARE * batch)
        for _ in range(self.steps):
            chosen = torch.randint(share, (batch,))
            optimizer.zero_grad()
            functional.cross_entropy(own[1](own[0](inputs[chosen])), labels[chosen]).backward()
            assert first.grad is not None
            rows.append(first.grad.flatten().clone())
            optimizer.step()
        self.simulated(torch.stack(rows))

    def simulated(self, gradients: Tensor) -> None:
        """Learn what honest gradients look like.

        Args:
            gradients: ``(N, P)``, of the first layer, one row for each simulated step.

        Raises:
            ConfigError: There are fewer than 3.
        """
        from sklearn.neighbors import LocalOutlierFactor

        if len(gradients) < 3:
            raise ConfigError(f"split-out needs 3 simulated gradients or more; {len(gradients)} were given.")
        rows = gradients.detach().cpu().double().numpy()
        self._scale = max(float(np.linalg.norm(rows, axis=1).mean()), 1e-30)
        self._model = LocalOutlierFactor(novelty=True, n_neighbors=len(rows) - 1).fit(rows / self._scale)

    def watch(self, step: Watched) -> float | None:
        """See the base.

        Raises:
            ConfigError: Nothing was simulated yet.
        """
        if self._model is None:
            raise ConfigError("split-out needs simulated gradients before it can watch.")
        row = step.first_layer.detach().flatten().cpu().double().numpy()
        self._factors.append(float(-self._model.score_samples(row[None] / self._scale)[0]))
        return float(np.mean(self._factors[-self.window :]))
