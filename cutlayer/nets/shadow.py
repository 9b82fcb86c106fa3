"""Shadow heads: networks that imitate a head, in the notation of He, Zhang, Lee, ACSAC 2019, Table 5."""

import math
import re

import torch
from torch import nn

from cutlayer.errors import ConfigError
from cutlayer.nets.grid import Grid, layout

_LAYER = re.compile(r"([13579])x\1x([1-9]\d{0,3})")


def parse(layers: str) -> list[tuple[int, int] | None]:
    """The layers of ``3x3x64+p+3x3x128``: side and channels of a convolution, None where the sides are halved.

    Raises:
        ConfigError: One of them is no layer.
    """
    parsed: list[tuple[int, int] | None] = []
    for layer in layers.split("+") if layers else ():
        match = _LAYER.fullmatch(layer)
        if match is None and layer != "p":
            raise ConfigError(f"query-free.shadow must be such as 3x3x16+p+3x3x64; {layer!r:.80} is no layer.")
        parsed.append((int(match[1]), int(match[2])) if match else None)
    return parsed


def build(layers: str, image: tuple[int, ...], smashed: tuple[int, ...], *, positive: bool) -> nn.Module:
    """A shadow ``(N, *image)`` -> ``(N, *smashed)``, with weights drawn from torch's global generator.

    Args:
        layers: See `parse`; empty for two convolutions at each size.
        image: Shape of an image.
        smashed: Shape of the smashed data.
        positive: Whether it ends with a ReLU.

    Raises:
        ConfigError: The layers do not end with as many channels as the smashed data has.
    """
    spatial = layout(smashed) == "channels first"
    channels = smashed[0] if spatial else 64
    if not layers:
        sizes = Grid(smashed, image).doublings + 1
        widths = [max(8, channels >> (sizes - 1 - k)) for k in range(sizes - 1)] + [channels]
        layers = "+p+".join(f"3x3x{width}+3x3x{width}" for width in widths)
    modules: list[nn.Module] = []
    width = image[0]
    for layer in parse(layers):
        if layer is None:
            modules.append(nn.MaxPool2d(2, ceil_mode=True))
        else:
            side, out = layer
            modules += [nn.Conv2d(width, out, side, padding=side // 2), nn.ReLU()]
            width = out
    if spatial and width != channels:
        raise ConfigError(f"query-free.shadow ends with {width} channels, and the smashed data has {channels}.")
    last = max(place for place, module in enumerate(modules) if isinstance(module, nn.ReLU))
    if spatial:
        if not positive:
            del modules[last]
        return nn.Sequential(*modules, _fit(nn.Sequential(*modules)(torch.zeros(1, *image)).shape[2:], smashed[1:]))
    linear = nn.Linear(16 * width, math.prod(smashed))
    end = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), linear, *([nn.ReLU()] if positive else []), nn.Unflatten(1, smashed)]
    return nn.Sequential(*modules, *end)


def _fit(given: tuple[int, ...], wanted: tuple[int, ...]) -> nn.Module:
    """What `cutlayer.nets.grid.Fit` does to a grid of a known size, so that a search can trace it."""
    if min(a / b for a, b in zip(given, wanted, strict=True)) >= 2:
        return nn.AdaptiveAvgPool2d(wanted)
    top, left = ((b - a) // 2 for a, b in zip(given, wanted, strict=True))
    return nn.ZeroPad2d((left, wanted[1] - given[1] - left, top, wanted[0] - given[0] - top))
