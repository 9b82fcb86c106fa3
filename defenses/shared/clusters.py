"""Clusters of smashed data within each class, and how much the data varies within them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

ITERATIONS = 10
"""Rounds of Lloyd's algorithm."""
MOMENTUM = 0.1
"""Weight of a batch in the running variance of a cluster."""


class Clusters:
    """Clusters of data that changes: they are fitted anew, and between two fits running variances follow the batches.

    Args:
        per_class: Number of clusters in each class.
        seed: Seed of the first centers.
    """

    def __init__(self, per_class: int, seed: int) -> None:
        self._per_class = per_class
        self._generator = torch.Generator().manual_seed(seed)

    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Find the clusters: features ``(N, ...)``, labels ``(N,)``."""
        flat = features.flatten(1)
        centers, classes = [], []
        for label in labels.unique().tolist():
            members = flat[labels == label]
            centers.append(k_means(members, min(self._per_class, len(members)), self._generator))
            classes += [label] * len(centers[-1])
        self.centers, self.classes = torch.cat(centers), torch.tensor(classes, device=flat.device)
        _, self.variances = self._around(flat, self._nearest(flat, labels))

    def observe(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take a batch into account.

        Args:
            features: ``(N, ...)``.
            labels: ``(N,)``; samples of a class without clusters are ignored.

        Returns:
            The share of the batch in each cluster, ``(J,)``, and the variance of each element in each cluster,
            ``(J, D)``: the running one, with the gradient of the batch's.
        """
        flat, known = features.flatten(1), torch.isin(labels, self.classes)
        counts, batch = self._around(flat[known], self._nearest(flat[known].detach(), labels[known]))
        hit = (counts > 0)[:, None]
        self.variances = torch.where(hit, self.variances.lerp(batch.detach(), MOMENTUM), self.variances)
        return counts / len(flat), self.variances + (batch - batch.detach())

    def _nearest(self, flat: Tensor, labels: Tensor) -> Tensor:
        """The nearest cluster of the sample's own class, ``(N,)``."""
        distances = torch.cdist(flat, self.centers)
        return distances.masked_fill(labels[:, None] != self.classes, torch.inf).argmin(1)

    def _around(self, flat: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
        """Members of each cluster ``(J,)`` and their mean squared deviation from its center ``(J, D)``."""
        counts = one_hot(nearest, len(self.centers)).sum(0)
        deviations = (flat - self.centers[nearest]).square()
        sums = torch.zeros_like(self.centers).index_add(0, nearest, deviations)
        return counts, sums / counts.clamp(min=1)[:, None]


def k_means(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """The centers of k clusters, ``(k, D)``, by k-means++ and Lloyd's algorithm, of at least k points ``(N, D)``."""
    centers = points[torch.randint(len(points), (1,), generator=generator)]
    for _ in range(k - 1):
        # Drawn with odds of the squared distance to the nearest center; among duplicates, with equal odds.
        odds = torch.cdist(points, centers).amin(1).square().cpu() + 1e-12
        centers = torch.cat([centers, points[torch.multinomial(odds, 1, generator=generator)]])
    for _ in range(ITERATIONS):
        nearest = torch.cdist(points, centers).argmin(1)
        counts = one_hot(nearest, k).sum(0)[:, None]
        sums = torch.zeros_like(centers).index_add(0, nearest, points)
        centers = torch.where(counts > 0, sums / counts.clamp(min=1), centers)
    return centers
