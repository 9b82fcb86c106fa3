"""The fully connected layer that sees the inputs themselves, whose gradient is made of them.

A sample x that meets the weights ``z = W x + b`` first leaves ``dz x^T`` in the gradient of W and ``dz`` in that of b.
Normalization in front of the layer, which adds to each number of x and multiplies it, is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.view import Observation
from cutlayer.errors import ConfigError
from cutlayer.spec import TensorSpec


class FirstLayer(NamedTuple):
    """The gradient of the first layer, and what the layer makes of an input before it multiplies.

    Attributes:
        weight: ``(units, input.size)`` float64: the gradient of the weights.
        bias: ``(units,)`` float64: the gradient of the biases.
        offset: ``(input.size,)``: what the layer takes for an input of zeros.
        factor: ``(input.size,)``: by how much that grows for an input of ones.
        shape: The shape of one input.
    """

    weight: Tensor
    bias: Tensor
    offset: Tensor
    factor: Tensor
    shape: tuple[int, ...]

    def inputs(self, taken: Tensor) -> Tensor:
        """The inputs ``(N, *input.shape)`` of which the layer takes these ``(N, input.size)``."""
        return ((taken - self.offset) / self.factor).reshape(len(taken), *self.shape)


def first_layer(observation: Observation, gradient: Mapping[str, Tensor], input: TensorSpec, attack: str) -> FirstLayer:
    """The first layer of the model.

    Args:
        observation: An update.
        gradient: The gradient that it tells.
        input: One input of the model.
        attack: What needs the layer, as the subject of the message.

    Raises:
        ConfigError: The layer that sees the inputs is another one, or it has no bias.
    """
    model = observation.model
    names = {layer: name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    device = next(model.parameters()).device
    probes = torch.zeros(4, input.size, device=device)
    probes[1], probes[2] = 1, torch.linspace(0.1, 0.9, input.size, device=device)
    probes[3] = probes[2].flip(0)
    taken = _first_taken(model, [*names], probes.reshape(4, *input.shape))
    if taken is None:
        raise ConfigError(_refusal(attack, "the model has no such layer"))
    layer, values = taken
    if values.shape != probes.shape:
        raise ConfigError(_refusal(attack, f"its layer {names[layer]} takes {tuple(values.shape[1:])} numbers"))
    offset = values[0]
    factor = values[1] - values[0]
    if not torch.allclose(values[2:], offset + factor * probes[2:], rtol=1e-4, atol=1e-5) or not factor.all():
        raise ConfigError(_refusal(attack, f"other layers lie before its layer {names[layer]}"))
    if layer.bias is None:
        raise ConfigError(f"{attack} divides by the gradient of the first layer's bias, and {names[layer]} has none.")
    at = f"{names[layer]}." if names[layer] else ""
    return FirstLayer(
        gradient[f"{at}weight"].double(), gradient[f"{at}bias"].double(), offset.double(), factor.double(), input.shape
    )


def _refusal(attack: str, why: str) -> str:
    return f"{attack} needs a model whose first layer is fully connected and sees the inputs; {why}."


def _first_taken(model: nn.Module, layers: list[nn.Linear], probes: Tensor) -> tuple[nn.Linear, Tensor] | None:
    """The layer that is called first, and what it takes for the probes."""
    seen: list[tuple[nn.Linear, Tensor]] = []

    def note(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Linear)
        seen.append((layer, args[0]))

    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()(probes)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return seen[0] if seen else None
