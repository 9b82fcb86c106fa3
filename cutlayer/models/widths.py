"""Layers resized to saved weights, because a pruned half has fewer channels than the model that it was cut from.

A split folder is loaded by building the model, cutting it, and repeating the defense's surgery; the shapes of the
weights tell which channels a defense removed.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from cutlayer.errors import SplitError
from cutlayer.models.graph import nothing, reason
from cutlayer.models.halves import SplitModel

Resizable = nn.Conv2d | nn.BatchNorm2d | nn.Linear


def fit(split: SplitModel, head: Mapping[str, Tensor], tail: Mapping[str, Tensor]) -> SplitModel:
    """Resize the convolutions, normalizations and linear layers of both halves, in place, to these weights.

    Resized layers hold zeros until the weights are loaded. The input and the classes cannot be pruned.

    Args:
        split: The halves as built.
        head: The head's weights, by name.
        tail: The tail's weights, by name.

    Returns:
        The split with the shape of its smashed data measured again.

    Raises:
        SplitError: The halves no longer fit each other, or would take other inputs or give other classes.
    """
    changed = [*_changed(split.head, head), *_changed(split.tail, tail)]
    if not changed:
        return split
    classes = _classes(split)
    for layer, weight in changed:
        _resize(layer, weight)
    try:
        split = measured(split)
        fitted = _classes(split)
    except RuntimeError as error:
        raise SplitError(f"The widths of the saved layers do not fit each other: {reason(error)}") from error
    if fitted != classes:
        raise SplitError(f"The saved tail gives {fitted} classes instead of {classes}.")
    return split


@torch.no_grad()
def measured(split: SplitModel) -> SplitModel:
    """The same halves, with the shape of their smashed data measured again."""
    shape = tuple(split.head(nothing(split.input, 1)).shape[1:])
    return replace(split, smashed=replace(split.smashed, shape=shape))


@torch.no_grad()
def _classes(split: SplitModel) -> int:
    return split.tail(torch.zeros(1, *split.smashed.shape)).shape[1]  # type: ignore[no-any-return]


def _changed(half: nn.Module, weights: Mapping[str, Tensor]) -> list[tuple[Resizable, Tensor]]:
    """The layers whose saved weight has another size, with that weight; `load_state_dict` refuses other differences."""
    pairs = [(layer, weights.get(f"{name}.weight")) for name, layer in half.named_modules()]
    return [
        (layer, weight)
        for layer, weight in pairs
        if isinstance(layer, Resizable)
        and weight is not None
        and layer.weight.dim() == weight.dim()
        and layer.weight.shape != weight.shape
    ]


def _resize(layer: Resizable, weight: Tensor) -> None:
    layer.weight = nn.Parameter(torch.zeros_like(weight))
    if layer.bias is not None:
        layer.bias = nn.Parameter(torch.zeros(len(weight)))
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    elif isinstance(layer, nn.BatchNorm2d):
        layer.num_features = len(weight)
        layer.running_mean, layer.running_var = torch.zeros(len(weight)), torch.ones(len(weight))
    else:
        resize_channels(layer)


def resize_channels(convolution: nn.Conv2d) -> None:
    """Set the numbers of channels of a convolution from its weight; a depthwise one keeps one filter per channel."""
    if convolution.groups > 1 and convolution.groups == convolution.out_channels:
        convolution.groups = len(convolution.weight)
    convolution.out_channels = len(convolution.weight)
    convolution.in_channels = convolution.weight.shape[1] * convolution.groups
