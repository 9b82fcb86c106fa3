"""The choice of the channels of a head that stay, within a budget of multiply-accumulates."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from cutlayer.defenses.surgery.pruning import Channels
from cutlayer.errors import ConfigError
from cutlayer.models.graph import layer_outputs
from cutlayer.spec import TensorSpec

LEAST = 1 / 8
"""Share of its channels that every convolution keeps, so that no layer loses all of them."""


@torch.no_grad()
def macs(head: nn.Module, input: TensorSpec) -> dict[nn.Module, int]:
    """Multiply-accumulates of each convolution and linear layer for one sample."""
    counts: dict[nn.Module, int] = {}
    with layer_outputs(head) as computed:
        head(torch.zeros(1, *input.shape))
    for layer, output in computed:
        per_channel = output[0].numel() // (output.shape[1] if output.dim() == 4 else output.shape[-1])
        counts[layer] = counts.get(layer, 0) + per_channel * layer.weight.numel()
    return counts


def within_budget(
    groups: Sequence[Channels], strengths: Sequence[Tensor], costs: Mapping[nn.Module, int], budget: float
) -> list[Tensor]:
    """Choose which channels stay: the weakest of all go, one by one, until the rest costs no more than the budget.

    Args:
        groups: Groups of channels that may be removed.
        strengths: Strengths of the channels of each group, ``(count,)``.
        costs: Costs of the layers, from `macs`.
        budget: Multiply-accumulates for one sample.

    Returns:
        The indices of the channels that stay, for each group.

    Raises:
        ConfigError: Not even `LEAST` of every group is within the budget.
    """
    counts = [channels.count for channels in groups]
    cost = _cost(groups, costs)
    # Among equal strengths, such as those of untrained masks, each group loses the same part of its channels.
    order = sorted(
        (float(s), c / len(strength), g, c)
        for g, strength in enumerate(strengths)
        for c, s in enumerate(strength.abs())
    )
    removed: list[set[int]] = [set() for _ in groups]
    for _, _, group, channel in order:
        if cost(counts) <= budget:
            break
        if counts[group] - 1 >= LEAST * groups[group].count:
            counts[group] -= 1
            removed[group].add(channel)
    if cost(counts) > budget:
        raise ConfigError(
            f"Pruned as far as allowed, the head needs {cost(counts):,.0f} MACs, but the budget is {budget:,.0f}; "
            "raise the budget."
        )
    return [
        torch.tensor([c for c in range(channels.count) if c not in out])
        for channels, out in zip(groups, removed, strict=True)
    ]


def _cost(groups: Sequence[Channels], costs: Mapping[nn.Module, int]) -> Callable[[Collection[int]], float]:
    """The cost of the head, as a function of how many channels each group keeps."""
    shares: dict[nn.Module, list[int]] = {layer: [] for layer in costs}
    for number, channels in enumerate(groups):
        # A depthwise convolution has the same channels on both sides, and costs in proportion to them once.
        for layer in (channels.source, *channels.carriers, *channels.consumers):
            if layer in shares:
                shares[layer].append(number)

    def cost(counts: Collection[int]) -> float:
        left = [n / channels.count for n, channels in zip(counts, groups, strict=True)]
        total = 0.0
        for layer, full in costs.items():
            part = float(full)
            for number in shares[layer]:
                part *= left[number]
            total += part
        return total

    return cost
