"""A convolution that gives a sparse code of its input in place of its products."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.errors import ConfigError
from cutlayer.spec import TensorSpec

_POWER = 20
"""Steps of the power iteration that finds the greatest singular value."""


class Coded(nn.Module):
    """A convolution whose output is a sparse code of its input.

    Args:
        convolution: Its weights begin the dictionary; its bias is added to the code.
        size: Rows and columns of an input.
        threshold: Weight of the code's absolute values.
        steps: Steps of the search.
    """

    def __init__(self, convolution: nn.Conv2d, size: tuple[int, int], threshold: float, steps: int) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride, self.dilation = convolution.stride, convolution.dilation
        self.padding = cast("tuple[int, int]", convolution.padding)
        self.threshold, self.steps = threshold, steps
        with torch.no_grad():
            code = self._products(torch.zeros(1, convolution.in_channels, *size), self._dictionary())
            self.missing = (0, 0)
            image = self._image(code, self._dictionary())
            self.missing = (size[0] - image.shape[-2], size[1] - image.shape[-1])
            x = torch.ones(1, convolution.in_channels, *size)
            for _ in range(_POWER):
                x = self._image(self._products(x / x.norm(), self._dictionary()), self._dictionary())
        self.step = nn.Parameter(1 / x.norm().clamp(min=1e-6))

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to a code of the shape of the convolution's output."""
        weight = self._dictionary()
        code = self._shrunk(self._products(images, weight) * self.step)
        for _ in range(self.steps - 1):
            code = self._shrunk(code + self._products(images - self._image(code, weight), weight) * self.step)
        return code if self.bias is None else code + self.bias[:, None, None]

    def _shrunk(self, code: Tensor) -> Tensor:
        """Soft thresholding, of two ReLUs: code minus what lies within the threshold."""
        threshold = self.threshold * self.step
        return functional.relu(code - threshold) - functional.relu(-code - threshold)

    def _dictionary(self) -> Tensor:
        return self.weight / self.weight.pow(2).sum((1, 2, 3), keepdim=True).sqrt()

    def _products(self, images: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(images, weight, None, self.stride, self.padding, self.dilation)

    def _image(self, code: Tensor, weight: Tensor) -> Tensor:
        return functional.conv_transpose2d(
            code,
            weight,
            None,
            self.stride,
            self.padding,
            self.missing,
            1,
            self.dilation,
        )


def first_convolution(model: nn.Module, input: TensorSpec) -> tuple[str, nn.Conv2d, tuple[int, int]]:
    """The name of the first convolution that an input passes, itself, and rows and columns of what it is given.

    Raises:
        ConfigError: The model has none, or it has groups.
    """
    found: list[tuple[str, nn.Conv2d, tuple[int, int]]] = []
    hooks = [
        layer.register_forward_hook(
            lambda this, given, _, name=name: found.append((name, this, tuple(given[0].shape[-2:])))
        )
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
    ]
    mode = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, *input.shape))
    model.train(mode)
    for hook in hooks:
        hook.remove()
    if not found or found[0][1].groups > 1 or isinstance(found[0][1].padding, str):
        raise ConfigError("sparse-coding changes a first convolution without groups, and this model has none.")
    return found[0]
