"""SecCNN: an upsampling layer before a convolution, so that its input has more unknowns than there are equations.

Y.-H. Liu, Y.-C. Shen, H.-W. Chen, M.-S. Chen, "Construct a Secure CNN Against Gradient Inversion Attack", PAKDD 2024.
By its abstract it embeds "an upsampling layer into CNNs" and uses "Rank Analysis", which is that of J. Zhu and
M. Blaschko, "R-GAP: Recursive Gradient Attack on Privacy", ICLR 2021: whoever knows the output z of a convolution and
``dL/dz`` has for its input the equations ``W x = z`` and ``dL/dz * x = dW``, as many as there are outputs and weights.
Where x has more numbers than that, the recursion has no unique answer.

Threat model: a curious server rebuilds the samples of an update, layer by layer. An attacker who knows the architecture
has the numbers before the upsampling as unknowns, which are as few as before (`equations` with ``below``); matching and
learned attacks never solve for the layer's input and are not hindered.

Differs from the paper, of which the abstract was at hand:
    - The layer is the one with the most unknowns above its equations once they are upsampled.
    - Upsampling repeats the nearest pixel; the outputs of the convolution are averaged to their former size, so that
      the layers behind stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

import torch
from torch import Tensor, nn

from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.options import Within

if TYPE_CHECKING:
    from cutlayer.spec import TensorSpec


@dataclass(kw_only=True)
class SecCnn(UpdateDefense):
    """Repeat each pixel before the convolution whose input then has the most unknowns above its equations.

    Args:
        scale: Times that each pixel is repeated along each side; 0 and 1 leave the model as it is.
    """

    knob = "scale"
    plain_words = "repeats the pixels before one convolution, so that its input has more unknowns than equations"

    scale: Annotated[int, Within(0, 16)] = 2

    @property
    def on(self) -> bool:
        """Whether the defense does anything."""
        return self.scale > 1

    def rebuilt(self, model: nn.Module, input: TensorSpec, classes: int) -> nn.Module:
        """See the base.

        Raises:
            ConfigError: The model has no convolution.
        """
        if not self.on:
            return model
        layers = convolutions(model, input)
        if not layers:
            raise ConfigError("SecCNN puts an upsampling layer before a convolution; this model has none.")
        chosen = max(layers, key=lambda layer: layer.unknowns * self.scale**2 - layer.equations)
        before = cast(nn.Conv2d, model.get_submodule(chosen.name))
        model.set_submodule(chosen.name, Upsampled(before, self.scale, chosen.output))
        return model


class Upsampled(nn.Module):
    """A convolution of repeated pixels, whose outputs are averaged to the size that they had without."""

    def __init__(self, convolution: nn.Conv2d, scale: int, output: tuple[int, int]) -> None:
        super().__init__()
        self.repeat, self.convolution = nn.Upsample(scale_factor=scale), convolution
        self.average = nn.AdaptiveAvgPool2d(output)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(N, C, H, W)`` to what the convolution gave without repetition, in shape."""
        outputs: Tensor = self.average(self.convolution(self.repeat(inputs)))
        return outputs


class Layer(NamedTuple):
    """A convolution: its name, the numbers of its input, the equations for them, and rows and columns of its output."""

    name: str
    unknowns: int
    equations: int
    output: tuple[int, int]


def convolutions(model: nn.Module, input: TensorSpec) -> list[Layer]:
    """The convolutions of a model that an input passes, in their order."""
    found: list[Layer] = []

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Conv2d, given: tuple[Tensor, ...], output: Tensor) -> None:
            equations = output[0].numel() + layer.weight.numel()
            found.append(Layer(name, given[0][0].numel(), equations, (output.shape[-2], output.shape[-1])))

        return hook

    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    hooks, mode = [layer.register_forward_hook(note(name)) for name, layer in layers], model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, *input.shape))
    model.train(mode)
    for hook in hooks:
        hook.remove()
    return found


def equations(layer: nn.Conv2d | Upsampled, shape: tuple[int, int, int], *, below: bool = False) -> Tensor:
    """The coefficients of what is known of a convolution's input, ``(equations, unknowns)``, in double precision.

    They are those of its output and of the gradient of its weights, for a random gradient of the output.

    Args:
        layer: The convolution.
        shape: ``(C, H, W)`` of what it is given, before upsampling.
        below: Whether the unknowns are the numbers before the upsampling, and not the input of the convolution itself.
    """
    convolution = layer.convolution if isinstance(layer, Upsampled) else layer
    repeat: Callable[[Tensor], Tensor] = layer.repeat if isinstance(layer, Upsampled) else nn.Identity()
    average: Callable[[Tensor], Tensor] = layer.average if isinstance(layer, Upsampled) else nn.Identity()
    weight = convolution.weight.detach().double().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(1, *shape, dtype=torch.float64, generator=generator)
    start = start if below else repeat(start)
    output = average(_convolved(convolution, repeat(start) if below else start, weight))
    gradient = torch.randn(output.shape, dtype=torch.float64, generator=generator)

    def known(x: Tensor) -> Tensor:
        z = average(_convolved(convolution, repeat(x) if below else x, weight))
        (of_weights,) = torch.autograd.grad(z, weight, gradient, create_graph=True)
        return torch.cat([z.flatten(), of_weights.flatten()])

    rows: Tensor = torch.autograd.functional.jacobian(known, start)
    return rows.flatten(1)


def _convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    return nn.functional.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
