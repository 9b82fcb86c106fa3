"""The last linear layer of a model, for defenses that put something before it or in its place."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from cutlayer.errors import ConfigError
from cutlayer.spec import TensorSpec


def last_linear(model: nn.Module, input: TensorSpec) -> str:
    """The name of the linear layer that gives the logits.

    Raises:
        ConfigError: The last operation of the model is no linear layer, or there is nothing before it.
    """
    linear: list[tuple[str, nn.Linear]] = [
        (name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)
    ]
    if linear and linear[-1][0]:
        name, last = linear[-1]
        given: list[Tensor] = []
        hook, mode = last.register_forward_hook(lambda _, __, output: given.append(output)), model.training
        with torch.no_grad():
            logits = model.eval()(torch.zeros(1, *input.shape, device=last.weight.device))
        hook.remove()
        model.train(mode)
        if given and given[-1] is logits:
            return name
    raise ConfigError("The last operation of the model must be a linear layer with others before it; take another one.")


def without_last(model: nn.Module, input: TensorSpec) -> tuple[nn.Module, nn.Linear]:
    """A model without its last linear layer, and that layer; the model itself is changed.

    Raises:
        ConfigError: The last operation of the model is no linear layer.
    """
    name = last_linear(model, input)
    last = cast(nn.Linear, model.get_submodule(name))
    model.set_submodule(name, nn.Identity())
    return model, last
