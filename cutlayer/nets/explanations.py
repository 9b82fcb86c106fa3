"""Explanations of a classifier's answers: which parts of an input it rests on.

Saliency: K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks", ICLR 2014 workshop,
https://arxiv.org/abs/1312.6034: the gradient of the score of the class that is answered. Grad-CAM: R. Selvaraju et al.,
ICCV 2017, https://arxiv.org/abs/1610.02391: the activations of the last convolution, weighted by their mean gradients.

A service that explains what it answers hands out such a map with every answer.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.errors import ConfigError

Explanation = Callable[[nn.Module, Tensor], Tensor]


def saliency(model: nn.Module, inputs: Tensor) -> Tensor:
    """The gradient of the greatest logit, its magnitude summed over the channels, ``(N, 1, H, W)`` in [0, 1].

    Args:
        model: ``(N, C, H, W)`` to logits, in evaluation mode.
        inputs: ``(N, C, H, W)``.
    """
    with torch.enable_grad():
        x = inputs.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(x).max(1).values.sum(), x)
    return _scaled(gradient.abs().sum(1, keepdim=True))


def grad_cam(model: nn.Module, inputs: Tensor) -> Tensor:
    """Where the last convolution sees the class that is answered, ``(N, 1, H, W)`` in [0, 1], in the size of the input.

    Raises:
        ConfigError: The model has no convolution.
    """
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not convolutions:
        raise ConfigError("Grad-CAM explains by the last convolution, and this model has none; take saliency.")
    seen: list[Tensor] = []
    hook = convolutions[-1].register_forward_hook(lambda module, given, output: seen.append(output))
    try:
        with torch.enable_grad():
            logits = model(inputs.detach().clone().requires_grad_())
            (gradient,) = torch.autograd.grad(logits.max(1).values.sum(), seen[0])
    finally:
        hook.remove()
    weighted = (gradient.mean((2, 3), keepdim=True) * seen[0].detach()).sum(1, keepdim=True).relu()
    return _scaled(functional.interpolate(weighted, inputs.shape[2:], mode="bilinear", align_corners=False))


EXPLANATIONS: dict[str, Explanation] = {"grad-cam": grad_cam, "saliency": saliency}


def _scaled(maps: Tensor) -> Tensor:
    """Each map divided by its greatest value; 0 everywhere stays so."""
    return maps.detach() / maps.detach().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
