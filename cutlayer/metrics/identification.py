"""Whether a reconstruction tells its original from other candidates.

A class's average can look like the input and still say nothing of it. The reconstruction is compared with a pool of
candidates; the input is identified when it is the nearest of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor


def identified(reconstructions: Tensor, originals: Tensor, candidates: Tensor) -> Tensor:
    """Whether the candidate nearest (L2) to the reconstruction is its original.

    The mean over the inputs is the identification rate; guessing gives 1 / M.

    Args:
        reconstructions: ``(N, *input.shape)``; those whose original is no candidate are left out.
        originals: ``(N, *input.shape)``.
        candidates: ``(M, *input.shape)``, which begin with the originals, or with the first M of them.

    Returns:
        ``(min(N, M),)``, each 0 or 1.
    """
    import torch

    n, pool = len(candidates), candidates.flatten(1)
    nearest = torch.cdist(reconstructions[:n].flatten(1).double(), pool.double()).argmin(1)
    return (pool[nearest] == originals[:n].flatten(1)).all(1).to(reconstructions.dtype)


IDENTIFICATION = Metric(
    "Identified", "how often the true picture is the one nearest to the reconstruction among all candidates.",
    "high", identified, unit="%", digits=1, factor=100,
)  # fmt: skip
