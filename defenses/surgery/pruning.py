"""Channels that can be removed from a model, the soft masks that say which, and their removal.

A convolution's channels can be removed when only convolutions or linear layers read them, directly or through layers
that treat each channel by itself and give zero for zero: the weights that read them are then removed too. Channels that
are added to others in a residual sum stay. So the inner channels of the blocks can be removed in ResNet-20, the
expanded ones in MobileNetV2, and all in a plain network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from cutlayer.models.widths import resize_channels

# These treat each channel by itself, and give zero where it is zero.
_PASSING: tuple[type[nn.Module], ...] = (
    nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.Tanh, nn.Identity, nn.Dropout, nn.Dropout2d,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_PASSING_CALLS = {torch.relu, torch.tanh, functional.relu, functional.adaptive_avg_pool2d, "relu", "tanh"}


@dataclass(frozen=True)
class Channels:
    """The output channels of one convolution, and every layer that has them.

    Attributes:
        source: The convolution.
        carriers: Normalizations and depthwise convolutions on their way, in order.
        consumers: The convolutions and linear layers that read them.
    """

    source: nn.Conv2d
    carriers: tuple[nn.BatchNorm2d | nn.Conv2d, ...]
    consumers: tuple[nn.Conv2d | nn.Linear, ...]

    @property
    def count(self) -> int:
        """Number of channels."""
        return self.source.out_channels

    @property
    def place(self) -> nn.Module:
        """The last layer that can give a value for a zero; behind it a mask of 0 is equal to removal."""
        return self.carriers[-1] if self.carriers else self.source


def removable(model: fx.GraphModule, within: nn.Module) -> list[Channels]:
    """The channels that can be removed from the convolutions of `within`, in the order of the graph.

    Args:
        model: The model, with every layer that reads the channels.
        within: A part of the model that shares its modules, such as the head.
    """
    modules = {n: model.get_submodule(str(n.target)) for n in model.graph.nodes if n.op == "call_module"}
    eligible = {id(module) for module in within.modules()}
    # A layer with weights that is called twice has channels from two sources or for two readers.
    calls = Counter(id(module) for module in modules.values() if any(True for _ in module.parameters()))
    modules = {node: module for node, module in modules.items() if calls[id(module)] < 2}
    starts = [n for n, m in modules.items() if _is_plain(m) and id(m) in eligible]
    return [channels for node in starts if (channels := _follow(node, modules)) is not None]


def _follow(start: fx.Node, modules: Mapping[fx.Node, nn.Module]) -> Channels | None:
    """The channels of the convolution at `start`, or None where they are tied to others."""
    source, carriers, node, flat = modules[start], list[nn.BatchNorm2d | nn.Conv2d](), start, False
    assert isinstance(source, nn.Conv2d)
    while len(node.users) == 1:
        (user,) = node.users
        module = modules.get(user)
        if (isinstance(module, nn.BatchNorm2d) and module.affine) or _is_depthwise(module):
            carriers.append(module)  # type: ignore[arg-type]
        elif _flattens(user, module):
            flat = True
        elif not isinstance(module, _PASSING) and not (user.op.startswith("call_") and user.target in _PASSING_CALLS):
            break
        node = user
    readers = [modules.get(user) for user in node.users]
    # A linear layer that reads an image reads its last axis, not its channels.
    if not readers or not all(isinstance(r, nn.Linear) if flat else _is_plain(r) for r in readers):
        return None
    return Channels(source, tuple(carriers), tuple(readers))  # type: ignore[arg-type]


def _is_plain(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == 1


def _is_depthwise(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels


def _flattens(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether the channels of an image become neighboring parts of a vector here."""
    if isinstance(module, nn.Flatten):
        return module.start_dim == 1
    return node.target in (torch.flatten, "flatten") and [*node.args[1:], *node.kwargs.values()] == [1]


class Mask(nn.Module):
    """One trainable factor per channel, 1 at first.

    Attributes:
        factors: The factors divided by `GAIN`.
    """

    GAIN = 10.0
    """Adam moves a parameter by about its learning rate; a factor has to come from 1 to 0 in a few hundred steps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.full((channels,), 1 / self.GAIN))

    @property
    def strength(self) -> Tensor:
        """``(channels,)``: what each channel is multiplied by."""
        return self.factors * self.GAIN

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, h, w)``, same shape out."""
        return x * self.strength[:, None, None]

    def attach(self, channels: Channels) -> RemovableHandle:
        """Multiply the channels by the factors from now on, wherever their layer is called."""
        return channels.place.register_forward_hook(lambda _module, _inputs, output: self(output))


@torch.no_grad()
def remove(channels: Channels, keep: Tensor, factors: Tensor) -> None:
    """Take all but some channels out of the layers that have them, in place.

    Every layer concerned gets new parameters, so an optimizer that holds the old ones must be replaced.

    Args:
        channels: The channels of one convolution.
        keep: Indices of the channels that stay.
        factors: ``(channels.count,)``, the factors of the channels that stay.
    """
    place, count = channels.place, channels.count
    assert isinstance(place, nn.BatchNorm2d | nn.Conv2d)
    for parameter in (place.weight, place.bias):
        if parameter is not None:
            parameter.mul_(factors.reshape(-1, *[1] * (parameter.dim() - 1)))
    for layer in (channels.source, *channels.carriers):
        for name, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            if tensor.dim():
                fewer = tensor[keep].clone()
                setattr(layer, name, nn.Parameter(fewer) if isinstance(tensor, nn.Parameter) else fewer)
        if isinstance(layer, nn.Conv2d):
            resize_channels(layer)
        else:
            layer.num_features = len(keep)
    for reader in channels.consumers:
        # A linear layer behind a flattened image has several weights for each channel, side by side.
        grouped = reader.weight.unflatten(1, (count, -1))[:, keep]
        reader.weight = nn.Parameter(grouped.flatten(1, 2).clone())
        if isinstance(reader, nn.Conv2d):
            resize_channels(reader)
        else:
            reader.in_features = reader.weight.shape[1]
