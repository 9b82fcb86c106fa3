"""The bottleneck of ResSFL: a narrow pair of convolutions around the cut, by the paper's notation.

Li et al., ResSFL, CVPR 2022; code github.com/zlijingtao/ResSFL @68d6165, `vgg.py`: ``noRELU_C8S1`` is a
3x3 convolution to 8 channels with stride 1 at the end of the head, mirrored at the start of the tail. A stride of 2 or
more halves the grid, once or several times, and transposed convolutions double it again. ReLU follows each convolution
unless the name begins with ``noRELU``; ``K5`` before the ``C`` stands for a kernel of 5x5.

Differs from their code: a kernel size counts for every stride, a grid with an odd side gets its size back, and a name
that cannot be read is an error (theirs falls back to C8S1).

Names are read without torch, because the device reads them too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cutlayer.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

_NAME = re.compile(r"(noRELU_)?(?:K(\d+))?C(\d+)(?:S(\d+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Bottleneck:
    """The parts of a bottleneck's name.

    Attributes:
        channels: Channels of the smashed data.
        stride: Factor by which each side of the grid shrinks; a power of 2.
        kernel: Side of the convolutions' kernels; odd.
        relu: Whether ReLU follows each convolution.
    """

    channels: int
    stride: int
    kernel: int
    relu: bool


def parse(name: str) -> Bottleneck:
    """Read a name such as ``noRELU_C8S1``.

    Raises:
        ConfigError: It is no such name, or no such bottleneck can be built.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"There is no bottleneck {name!r}; write one like noRELU_C8S1, C4S2 or K5C8S1.")
    bottleneck = Bottleneck(int(match[3]), int(match[4] or 1), int(match[2] or 3), match[1] is None)
    if bottleneck.channels < 1 or bottleneck.kernel % 2 == 0 or bottleneck.stride.bit_count() != 1:
        raise ConfigError(
            f"The bottleneck {name!r}: channels must be 1 or more, the kernel odd, the stride a power of 2."
        )
    return bottleneck


def build(bottleneck: Bottleneck, smashed: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """Build both ends, with weights drawn from torch's global generator.

    Args:
        bottleneck: Parts of its name.
        smashed: Shape ``(C, H, W)`` of the smashed data without a bottleneck.

    Returns:
        The end of the head, ``(N, C, H, W)`` to ``(N, channels, h, w)``, and the start of the tail, which maps back.

    Raises:
        ConfigError: The smashed data is no grid, or too small.
    """
    from torch import nn

    if len(smashed) != 3:
        raise ConfigError(
            f"A bottleneck needs smashed data of (channels, height, width), not {smashed}; cut elsewhere."
        )
    channels, *side = smashed
    padding, narrow = bottleneck.kernel // 2, bottleneck.channels
    halvings = bottleneck.stride.bit_length() - 1
    if min(side) < bottleneck.stride:
        raise ConfigError(
            f"The stride of a bottleneck, {bottleneck.stride}, must be at most the side of the smashed data, {smashed}."
        )
    if not halvings:
        down: list[nn.Module] = [nn.Conv2d(channels, narrow, bottleneck.kernel, padding=padding)]
        up: list[nn.Module] = [nn.Conv2d(narrow, channels, bottleneck.kernel, padding=padding)]
        return _with_relu(down, bottleneck), _with_relu(up, bottleneck)
    down, up = [], []
    for step in range(halvings):
        outer = narrow if step else channels
        # Halving rounds an odd side up, and doubling would then give one row too many.
        extra = (1 - side[0] % 2, 1 - side[1] % 2)
        down.append(nn.Conv2d(outer, narrow, bottleneck.kernel, stride=2, padding=padding))
        up.insert(0, nn.ConvTranspose2d(narrow, outer, bottleneck.kernel, 2, padding, output_padding=extra))
        side = [-(-n // 2) for n in side]
    return _with_relu(down, bottleneck), _with_relu(up, bottleneck)


def _with_relu(layers: list[nn.Module], bottleneck: Bottleneck) -> nn.Module:
    from torch import nn

    if bottleneck.relu:
        layers = [part for layer in layers for part in (layer, nn.ReLU())]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
