"""Group normalization in place of batch normalization, which mixes the samples of a batch and of clients.

Wu, He, "Group Normalization", ECCV 2018, https://arxiv.org/abs/1803.08494: groups of 16 channels.
"""

from math import gcd

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

CHANNELS = 16
"""Channels of a group, where the number of channels allows it."""


def without_batch_norm(model: nn.Module) -> int:
    """Replace each batch normalization of a model in place, and return how many there were."""
    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)]
    for name, layer in found:
        channels = layer.num_features
        groups = gcd(channels, max(1, channels // CHANNELS))
        model.set_submodule(name, nn.GroupNorm(groups, channels, layer.eps, affine=layer.affine))
    return len(found)
