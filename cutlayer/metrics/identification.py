"""Whether a reconstruction tells its original from other candidates.

A class's average can look like the input and still say nothing of it. The reconstruction is compared with a pool of
candidates; the input is identified when it is the nearest of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor

POOL_VALUES = 1 << 24
"""Numbers of the pool that are compared at a time; bounds the memory."""


def squared_distances(queries: Tensor, pool: Tensor) -> Tensor:
    """The squared L2 distance of each query, ``(N, ...)``, to each entry of a pool, ``(M, ...)``: ``(N, M)``.

    Products are summed in float64 (in float32 on a device without it), a part of the pool at a time. What rounding
    leaves of the distance of equal tensors is 0.
    """
    import torch

    dtype = torch.float32 if queries.device.type == "mps" else torch.float64
    a, parts = queries.flatten(1).to(dtype), []
    length = a.square().sum(1, keepdim=True)
    for part in pool.to(queries.device).flatten(1).split(max(1, POOL_VALUES // a.shape[1])):
        b = part.to(dtype)
        reach = length + b.square().sum(1)
        distance = torch.addmm(reach, a, b.T, alpha=-2)
        parts.append(distance.masked_fill_(distance < 16 * torch.finfo(dtype).eps * reach, 0))
    return torch.cat(parts, 1)


def ranks(scores: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """How many false candidates each input has before the true one, and how many are not told apart from it.

    Args:
        scores: ``(N, M)``, greatest for the candidate that is most likely; one that is not a number is the least.
        true: ``(N, M)`` bool, true for the candidates that are the input; at least one in each row. They count as one.

    Returns:
        Two whole numbers for each input, ``(N,)`` each.
    """
    scores = scores.nan_to_num(nan=-float("inf"), posinf=float("inf"), neginf=-float("inf"))
    best = scores.masked_fill(~true, -float("inf")).amax(1, keepdim=True)
    return ((scores > best) & ~true).sum(1), ((scores == best) & ~true).sum(1)


def shares(before: Tensor, ties: Tensor, k: int) -> Tensor:
    """The chance that each input is among the k most likely candidates, ``(N,)``, where ties are broken by lot."""
    return ((k - before) / (ties + 1)).clamp(0, 1)


def equal_inputs(originals: Tensor, candidates: Tensor) -> Tensor:
    """Which candidates are an original, value for value: ``(N, ...)`` and ``(M, ...)`` to ``(N, M)`` bool."""
    import torch

    known: dict[bytes, int] = {}
    a, b = (
        torch.tensor([known.setdefault(row.tobytes(), len(known)) for row in inputs.cpu().numpy()])
        for inputs in (originals, candidates)
    )
    return a[:, None] == b


def identified(reconstructions: Tensor, originals: Tensor, candidates: Tensor) -> Tensor:
    """Whether the candidate nearest (L2) to the reconstruction is its original.

    The mean over the inputs is the identification rate; guessing gives 1 / M.

    Args:
        reconstructions: ``(N, *input.shape)``; those whose original is no candidate are left out.
        originals: ``(N, *input.shape)``.
        candidates: ``(M, *input.shape)``, which begin with the originals, or with the first M of them.

    Returns:
        ``(min(N, M),)``: 0, 1, or the chance of a lot where several are equally near.
    """
    n = len(candidates)
    found = ranks(-squared_distances(reconstructions[:n], candidates), equal_inputs(originals[:n], candidates))
    return shares(*found, 1).to(reconstructions.dtype)


IDENTIFICATION = Metric(
    "Identified by values", "how often the true picture is the one nearest to the reconstruction among all candidates.",
    "high", identified, unit="%", digits=1, factor=100, modalities=("image", "table"), of_yes_or_no=True,
)  # fmt: skip
