"""Models by name, ready to be cut."""

from __future__ import annotations

import torch
from torch import fx, nn

from cutlayer.errors import ConfigError
from cutlayer.models.graph import ends, reason, trace
from cutlayer.models.normalize import Normalize
from cutlayer.models.vgg11 import LARGEST
from cutlayer.models.vgg11 import vgg11_bn as ressfl_vgg11_bn
from cutlayer.registry import MODELS
from cutlayer.spec import TensorSpec, image_spec

IMAGENET = image_spec(3, 224, 224)


def default_input(name: str) -> TensorSpec:
    """The images that the named model was made for."""
    spec: TensorSpec = MODELS.options(name)["input"].default
    return spec


def build(name: str, input: TensorSpec, classes: int, seed: int = 0) -> fx.GraphModule:
    """The named model with random weights, traced, its normalization inside, in eval mode.

    Args:
        name: In `cutlayer.registry.MODELS`.
        input: What an image looks like, ``(C, H, W)``.
        classes: Number of logits.
        seed: Of the weights. The global generator is left as it was.

    Raises:
        ConfigError: No such model, or one that cannot take such images.
    """
    make = MODELS.load(name)
    refused = f"{name} cannot take images of {input}"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = make(input, classes)
        graph = trace(model)
        _normalize(graph, input.shape[0])
        with torch.no_grad():
            logits = graph(torch.zeros(1, *input.shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{refused}: {reason(error)}") from error
    if logits.shape != (1, classes):
        raise ConfigError(f"{refused}: it gives {tuple(logits.shape)} instead of {classes} logits.")
    return graph


def _normalize(model: fx.GraphModule, channels: int) -> None:
    """Insert the child `normalize` between the input and everything that uses it."""
    image, _ = ends(model.graph)
    model.add_submodule("normalize", Normalize(channels).eval())
    with model.graph.inserting_after(image):
        normalized = model.graph.call_module("normalize", (image,))
    image.replace_all_uses_with(normalized, delete_user_cb=lambda user: user is not normalized)
    model.recompile()


def vgg11_bn(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """VGG-11 with batch normalization: torchvision's, or ResSFL's for images of at most 64 px."""
    if max(input.shape[1:]) <= LARGEST:
        return ressfl_vgg11_bn(input, classes)
    return _from_torchvision("vgg11_bn", input, classes)


def resnet18(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """The ResNet-18 of torchvision."""
    return _from_torchvision("resnet18", input, classes)


def mobilenet_v2(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """The MobileNetV2 of torchvision."""
    return _from_torchvision("mobilenet_v2", input, classes)


def mobilenet_v3_small(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """The MobileNetV3-Small of torchvision."""
    return _from_torchvision("mobilenet_v3_small", input, classes)


def efficientnet_b0(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """The EfficientNet-B0 of torchvision."""
    return _from_torchvision("efficientnet_b0", input, classes)


def convnext_tiny(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """The ConvNeXt-Tiny of torchvision."""
    return _from_torchvision("convnext_tiny", input, classes)


def vit_b_16(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """The ViT-B/16 of torchvision, for square images whose side is a multiple of 16."""
    _, height, width = input.shape
    if height != width:
        raise ValueError("the images must be square.")
    return _from_torchvision("vit_b_16", input, classes, image_size=height)


def swin_t(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
    """The Swin-T of torchvision."""
    return _from_torchvision("swin_t", input, classes)


def _from_torchvision(name: str, input: TensorSpec, classes: int, **options: int) -> nn.Module:
    from cutlayer.models._torchvision import models

    model: nn.Module = getattr(models, name)(weights=None, num_classes=classes, **options)
    _take_channels(model, input.shape[0])
    return model


def _take_channels(model: nn.Module, channels: int) -> None:
    """Make the first convolution take this many channels, with weights drawn as widely as before."""
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    if first.in_channels == channels:
        return
    spread = float(first.weight.detach().std())
    first.in_channels = channels
    first.weight = nn.Parameter(torch.randn(first.out_channels, channels, *first.kernel_size) * spread)
