"""One network that several processes train together, each on its share of every batch; see `cutlayer.machine.ranks`.

The processes see the same batches as one process would, in the same order. Gradients are the mean over the whole batch
(torch's DistributedDataParallel), and so are the mean and variance of a batch norm, so that the result is that of one
process but for the order in which sums are rounded. (`torch.nn.SyncBatchNorm` does the latter on GPUs alone.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cutlayer.machine import ranks


def share(rows: Tensor) -> tuple[Tensor, float]:
    """This process's part of the rows of a batch, and the factor of its mean loss.

    A batch with fewer rows than processes is learned whole by all of them, which gives the same mean.
    """
    if not _several() or len(rows) < ranks.count():
        return rows, 1.0
    mine = torch.tensor_split(rows, ranks.count())[ranks.rank()]
    return mine, len(mine) * ranks.count() / len(rows)


@contextmanager
def together(network: nn.Module) -> Iterator[nn.Module]:
    """The network to call in training: itself where there is one process.

    Args:
        network: It has the same weights in all processes, and has them afterwards, too.
    """
    if not _several():
        yield network
        return
    norms = [module for module in network.modules() if type(module) is nn.BatchNorm2d]
    for norm in norms:
        norm.__class__ = _SharedNorm
    try:
        yield DistributedDataParallel(network)
    finally:
        for norm in norms:
            norm.__class__ = nn.BatchNorm2d


def _several() -> bool:
    return ranks.count() > 1 and distributed.is_initialized()


class _SharedNorm(nn.BatchNorm2d):
    """A batch norm whose mean and variance are those of all processes' shares together."""

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        count = _summed(x.new_full((1,), x.numel() / self.num_features))
        mean = _summed(x.sum((0, 2, 3))) / count
        centered = x - mean[:, None, None]
        variance = _summed(centered.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            for kept, found in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
                assert kept is not None
                kept.lerp_(found, momentum)
        scaled = centered * (self.weight * (variance + self.eps).rsqrt())[:, None, None]
        normed: Tensor = scaled + self.bias[:, None, None]
        return normed.to(input.dtype)


def _summed(x: Tensor) -> Tensor:
    """The sum over all processes; its gradient is the sum of theirs."""
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total
