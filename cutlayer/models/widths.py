"""Layers made as wide as saved weights are, for a pruned half has fewer channels than the model it was cut from.

A split folder is loaded by building the model, cutting it, and repeating the defense's surgery; which channels a
defense removed, the shapes of its weights tell.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from cutlayer.errors import SplitError
from cutlayer.models.graph import reason
from cutlayer.models.halves import SplitModel

Resizable = nn.Conv2d | nn.BatchNorm2d | nn.Linear


def fit(split: SplitModel, head: Mapping[str, Tensor], tail: Mapping[str, Tensor]) -> SplitModel:
    """Resize the convolutions, normalizations and linear layers of both halves, in place, to these weights.

    What has been resized holds zeros until the weights are loaded. The image and the classes are not for pruning.

    Args:
        split: Freshly built.
        head: The head's weights, by name.
        tail: The tail's.

    Returns:
        The split with the smashed data that it has now.

    Raises:
        SplitError: The halves do not fit each other any more, or would take other images or give other classes.
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
    """The same halves, the shape of their smashed data measured anew."""
    shape = tuple(split.head(torch.zeros(1, *split.input.shape)).shape[1:])
    return replace(split, smashed=replace(split.smashed, shape=shape))


@torch.no_grad()
def _classes(split: SplitModel) -> int:
    return split.tail(torch.zeros(1, *split.smashed.shape)).shape[1]  # type: ignore[no-any-return]


def _changed(half: nn.Module, weights: Mapping[str, Tensor]) -> list[tuple[Resizable, Tensor]]:
    """The layers whose saved weight differs in size, with it; what differs otherwise `load_state_dict` refuses."""
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
    """Make a convolution's counts of channels those of its weight; a depthwise one keeps a filter per channel."""
    if convolution.groups > 1 and convolution.groups == convolution.out_channels:
        convolution.groups = len(convolution.weight)
    convolution.out_channels = len(convolution.weight)
    convolution.in_channels = convolution.weight.shape[1] * convolution.groups
