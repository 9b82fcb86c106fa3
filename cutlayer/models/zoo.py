"""Models by name, ready to be cut."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx, nn

from cutlayer.errors import ConfigError
from cutlayer.models import vgg11
from cutlayer.models.graph import ends, insert_after, reason, trace
from cutlayer.models.normalize import Normalize
from cutlayer.registry import MODELS
from cutlayer.spec import TensorSpec, image_spec

IMAGENET = image_spec(3, 224, 224)


def default_input(name: str) -> TensorSpec:
    """The inputs that the named model was designed for."""
    spec: TensorSpec = MODELS.options(name)["input"].default
    return spec


def build(name: str, input: TensorSpec, classes: int, seed: int = 0) -> fx.GraphModule:
    """The named model with random weights, traced, its normalization inside, in eval mode.

    Args:
        name: Name in `cutlayer.registry.MODELS`.
        input: One input, an image ``(C, H, W)``.
        classes: Number of logits.
        seed: Seed of the weights. The global generator is left as it was.

    Raises:
        ConfigError: There is no such model, or it cannot take such images.
    """
    make = MODELS.load(name)
    refused = f"{name} cannot take images of {input}"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = make(input, classes)
        graph = trace(model)
        insert_after(graph, ends(graph.graph)[0], "normalize", Normalize(input.shape[0]))
        with torch.no_grad():
            logits = graph(torch.zeros(1, *input.shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{refused}: {reason(error)}") from error
    if logits.shape != (1, classes):
        raise ConfigError(f"{refused}: it gives {tuple(logits.shape)} instead of {classes} logits.")
    return graph


def vgg11_bn(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """VGG-11 with batch normalization: torchvision's, or ResSFL's for images of at most 64 px."""
    if max(input.shape[1:]) <= vgg11.LARGEST:
        return vgg11.vgg11_bn(input, classes)
    return _from_torchvision("vgg11_bn", input, classes)


def vit_b_16(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """The ViT-B/16 of torchvision, for square images whose side is a multiple of 16."""
    _, height, width = input.shape
    if height != width:
        raise ValueError("the images must be square.")
    return _from_torchvision("vit_b_16", input, classes, image_size=height)


def _from_torchvision(name: str, input: TensorSpec, classes: int, **options: int) -> nn.Module:
    from cutlayer.models._torchvision import models

    model: nn.Module = getattr(models, name)(weights=None, num_classes=classes, **options)
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    if first.in_channels != input.shape[0]:
        # It takes other channels than torchvision's, with random weights of the same standard deviation.
        spread, first.in_channels = float(first.weight.detach().std()), input.shape[0]
        first.weight = nn.Parameter(torch.randn(first.out_channels, first.in_channels, *first.kernel_size) * spread)
    return model


def _named(name: str, title: str) -> Callable[[TensorSpec, int], nn.Module]:
    def build_named(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
        return _from_torchvision(name, input, classes)

    build_named.__doc__ = f"The {title} of torchvision."
    return build_named


resnet18 = _named("resnet18", "ResNet-18")
mobilenet_v2 = _named("mobilenet_v2", "MobileNetV2")
mobilenet_v3_small = _named("mobilenet_v3_small", "MobileNetV3-Small")
efficientnet_b0 = _named("efficientnet_b0", "EfficientNet-B0")
convnext_tiny = _named("convnext_tiny", "ConvNeXt-Tiny")
swin_t = _named("swin_t", "Swin-T")
