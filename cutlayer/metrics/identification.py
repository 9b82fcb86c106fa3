"""Whether a reconstruction tells its original from other candidates.

A class's average can look right and still say nothing of the one input. The attacker's picture is compared with a pool
of candidates; he has identified the input when it is the nearest of them.
"""

import torch
from torch import Tensor

from cutlayer.metrics.base import Metric, check_images


def identified(reconstructions: Tensor, originals: Tensor, candidates: Tensor | None = None) -> Tensor:
    """Whether the candidate nearest (L2) to the reconstruction is its original.

    The mean over the images is the identification rate; guessing gives 1 / M.

    Args:
        reconstructions: ``(N, C, H, W)`` in [0, 1].
        originals: ``(N, C, H, W)`` in [0, 1].
        candidates: ``(M, C, H, W)`` in [0, 1], with the originals among them; the originals alone when absent.

    Returns:
        ``(N,)``, each 0 or 1.
    """
    check_images(reconstructions, originals)
    pool = (originals if candidates is None else candidates).flatten(1)
    nearest = torch.cdist(reconstructions.flatten(1).double(), pool.double()).argmin(1)
    return (pool[nearest] == originals.flatten(1)).all(1).to(reconstructions.dtype)


IDENTIFICATION = Metric("identification", "", "high", identified)
