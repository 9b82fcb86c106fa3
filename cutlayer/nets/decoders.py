"""The ladder of decoders: networks from smashed data to an image, from weak to strong, by the names of the literature.

``he-small``
    He, Zhang, Lee, ACSAC 2019: transposed convolutions and ReLU, no normalization, no output activation.
``conv_normN{n}C{c}``, ``res_normN{n}C{c}``
    Li et al., ResSFL, CVPR 2022 (github.com/zlijingtao/ResSFL @68d6165, architectures_torch.py): to `c` channels, `n`
    further convolution-BN-ReLU (or residual) blocks, two or more blocks that double the size where it must grow, a
    sigmoid at the end. Their grid is N0C16, N2C32, N4C64; CEM (Xia et al., CVPR 2025) adds res_normN8C64.

Differs from the papers:

- Each channel of the input is standardized, so that the scale of the smashed data does not matter.
- No batch normalization just before the sigmoid: with it, the images stay gray for many epochs.
- Any shape can be decoded to any image (`cutlayer.nets.grid`).
- ReLU works in place, on what a layer before it has made: training is bound by memory as much as by products.
"""

import math
import re
from dataclasses import dataclass

from torch import Tensor, nn

from cutlayer.errors import ConfigError
from cutlayer.nets.grid import Fit, Grid, Standardize

_NAME = re.compile(r"(conv|res)_normN(\d+)C(\d+)")


@dataclass(frozen=True)
class Capacity:
    """The capacity that the name of a decoder states.

    Attributes:
        kind: ``he``, ``conv`` or ``res``.
        blocks: Number of further blocks at the size of the smashed data.
        channels: Number of channels.
    """

    kind: str
    blocks: int
    channels: int


def parse(name: str) -> Capacity:
    """Read a name such as ``res_normN4C64``.

    Raises:
        ConfigError: There is no decoder of that name.
    """
    if name == "he-small":
        return Capacity("he", 0, 64)
    match = _NAME.fullmatch(name)
    if match is None or match[3] == "0":
        raise ConfigError(
            f"There is no decoder {name!r}; write one such as he-small, conv_normN0C16, conv_normN2C32, res_normN4C64."
        )
    return Capacity(match[1], int(match[2]), int(match[3]))


def build(name: str, smashed: tuple[int, ...], image: tuple[int, ...]) -> nn.Sequential:
    """A decoder ``(N, *smashed)`` -> ``(N, *image)`` whose weights are drawn from torch's global generator."""
    capacity, (channels, height, width) = parse(name), image
    grid = Grid(smashed, image)
    doublings = grid.doublings
    start = (math.ceil(height / 2**doublings), math.ceil(width / 2**doublings))
    body = (_he if capacity.kind == "he" else _ressfl)(capacity, grid.channels, channels, doublings)
    return nn.Sequential(grid, Standardize(grid.channels), Fit(*start), *body, Fit(height, width))


def _he(capacity: Capacity, inputs: int, outputs: int, doublings: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for left in reversed(range(doublings)):
        width = inputs if left else capacity.channels
        layers += [nn.ConvTranspose2d(inputs, width, 3, stride=2, padding=1, output_padding=1), nn.ReLU(inplace=True)]
        inputs = width
    return [*layers, nn.ConvTranspose2d(inputs, outputs, 3, padding=1)]


def _ressfl(capacity: Capacity, inputs: int, outputs: int, doublings: int) -> list[nn.Module]:
    width = capacity.channels
    layers = [*_conv(inputs, width)]
    for _ in range(capacity.blocks):
        layers += [Residual(width)] if capacity.kind == "res" else _conv(width, width)
    for k in range(max(2, doublings)):
        layers += _double(width) if k < doublings else _conv(width, width)
    last = [Residual(width)] if capacity.kind == "res" else []
    return [*layers, *last, nn.Conv2d(width, outputs, 3, padding=1), nn.Sigmoid()]


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _double(width: int) -> list[nn.Module]:
    up = nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1, bias=False)
    return [up, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


class Residual(nn.Module):
    """Pre-activation residual block: x + conv(relu(bn(conv(relu(bn(x))))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1, bias=False)]
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, width, h, w)`` to the same shape."""
        out: Tensor = x + self.branch(x)
        return out
