"""Models by name, ready to be cut."""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from cutlayer.data.modality import TABLE, TOKENS, inputs_like, kind_of_inputs
from cutlayer.errors import ConfigError, CutlayerError, near
from cutlayer.models import vgg11
from cutlayer.models.graph import ends, insert_after, nothing, reason, trace
from cutlayer.models.normalize import Normalize
from cutlayer.models.start import RANDOM, Start
from cutlayer.models.weights import load_weights
from cutlayer.registry import MODELS
from cutlayer.spec import TensorSpec, image_spec

IMAGENET = image_spec(3, 224, 224)
ANY = "mlp"
"""The model for inputs of every kind but sentences."""


_CIFAR10 = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def default_input(name: str) -> TensorSpec:
    """The inputs that the named model was designed for.

    Raises:
        ConfigError: The model is one of the user's own, and does not say.
    """
    target = MODELS.load(name)
    known = MODELS.options(name) if not isinstance(target, nn.Module) else {}
    spec = known["input"].default if "input" in known else None
    if not isinstance(spec, TensorSpec):
        raise ConfigError(f"{name} does not say which inputs it takes; name the shape of one with --input, CxHxW.")
    return spec


def build(
    name: str, input: TensorSpec, classes: int | None = None, seed: int = 0, start: Start = RANDOM
) -> fx.GraphModule:
    """The named model, traced, its normalization inside, in eval mode.

    Args:
        name: A name as in `cutlayer.registry.MODELS`.
        input: One input: an image ``(C, H, W)``, a row of a table ``(n,)``, or the ids of a sentence ``(T,)``.
        classes: Number of logits; that of the model itself when None.
        seed: Seed of random weights. The global generator is left as it was.
        start: Weights from a file, and normalization.

    Raises:
        ConfigError: There is no such model, it cannot take such inputs, or the weights do not fit.
        SplitError: The model cannot be traced.
    """
    refused = f"{name} cannot take {inputs_like(input)}"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _made(name, input, classes)
        if start.weights:
            load_weights(model, Path(start.weights))
        with torch.no_grad():
            logits = model.eval()(nothing(input, 2))
        graph = trace(model, input)
    except CutlayerError:
        raise
    except Exception as error:
        if not MODELS.is_own(name) and kind_of_inputs(input) != kind_of_inputs(default_input(name)):
            raise ConfigError(f"{refused}; {_that_take(input)}.") from error
        if not (MODELS.is_own(name) or isinstance(error, RuntimeError | ValueError | AssertionError)):
            raise
        raise ConfigError(f"{refused}: {reason(error)}") from error
    shape = tuple(getattr(logits, "shape", ()))
    if len(shape) != 2 or shape[0] != 2 or classes not in (None, shape[1]):
        gives = f"{tuple(shape[1:])} for one of them" if shape else f"a {type(logits).__name__}"
        raise ConfigError(f"{refused}: it gives {gives} instead of {classes or 'a row of'} logits.")
    if (normalize := _normalization(name, model, input, start)) is not None:
        taken = dict(graph.named_children())
        child = next(free for k in itertools.count(1) if (free := f"normalize{'' if k == 1 else k}") not in taken)
        insert_after(graph, ends(graph.graph)[0], child, normalize)
    return graph


def _that_take(input: TensorSpec) -> str:
    """The models by name that are made for inputs of this kind, for a message."""
    kind = kind_of_inputs(input)
    names = [name for name in MODELS if kind_of_inputs(default_input(name)) == kind or (name == ANY and kind != TOKENS)]
    what = {TOKENS: "sentences", TABLE.name: "rows of a table"}.get(kind, "images")
    return f"models of {what} are {', '.join(names)}{' and hf/FOLDER' if kind == TOKENS else ''}"


def n_classes(model: nn.Module, input: TensorSpec) -> int:
    """The number of logits that a model gives."""
    with torch.no_grad():
        return int(model(nothing(input, 1)).shape[1])


def normalization_of(name: str, head: nn.Module) -> Start:
    """The normalization inside a head, as far as it does not follow from the name of the model."""
    for layer in head.modules():
        if isinstance(layer, Normalize):
            mean, std = (tuple(map(float, values.flatten())) for values in (layer.mean, layer.std))
            if MODELS.is_own(name) or {*mean, *std} != {0.5}:
                return Start(mean=mean, std=std)
    return Start()


def _normalization(name: str, model: nn.Module, input: TensorSpec, start: Start) -> Normalize | None:
    if input.is_tokens:
        return None
    mean, std, channels, axes = start.mean, start.std, input.shape[0], len(input.shape) - 1
    if not (mean or std):
        if MODELS.is_own(name):
            return None
        if not start.weights:
            return Normalize(channels, axes=axes)
        mean, std = _published(name, model)
    for option, values in (("mean", mean), ("std", std)):
        if len(values) not in (0, 1, channels):
            raise ConfigError(
                f"{option} must be one number, or one for each channel ({channels}); {len(values)} were given."
            )
    if 0 in std:
        raise ConfigError("std must not be 0, since the inputs are divided by it.")
    return Normalize(channels, mean or (0.0,), std or (1.0,), axes)


def _published(name: str, model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation with which the published weights of a model were trained."""
    stated = getattr(model, "pretrained_cfg", None)
    if isinstance(stated, dict) and {"mean", "std"} <= stated.keys():  # a model of timm
        return tuple(stated["mean"]), tuple(stated["std"])
    if type(model).__module__ == vgg11.__name__:
        return _CIFAR10
    if name == "resnet20" or type(model).__module__.startswith("torchvision."):
        return _IMAGENET
    return (0.5,), (0.5,)


def _made(name: str, input: TensorSpec, classes: int | None) -> nn.Module:
    """The model itself, with random weights, or those that a module of the user's own has."""
    target = MODELS.load(name)
    if not MODELS.is_own(name):
        model: nn.Module = target(input, classes) if classes is not None else target(input)
        return model
    if isinstance(target, nn.Module):
        return copy.deepcopy(target)
    if not callable(target):
        raise ConfigError(f"{name} is no model: it must be an nn.Module, or return one, and is {target!r:.60}.")
    parameters = inspect.signature(target).parameters
    given: dict[str, Any] = {key: classes for key in ("classes", "num_classes") if key in parameters and classes}
    if "input" in parameters and isinstance(parameters["input"].default, TensorSpec | type(inspect.Parameter.empty)):
        given["input"] = input
    needed = [
        key for key, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and key not in given
    ]  # fmt: skip
    if needed:
        raise ConfigError(
            f"{name} needs {', '.join(needed)}, which nobody states; give it a default, or name a function that "
            "returns the model. The parameters `classes`, `num_classes` and `input` are filled in."
        )
    try:
        made = target(**given)
    except Exception as error:  # the user's code runs here, and may raise anything
        raise ConfigError(f"{name} cannot be built: {type(error).__name__}: {reason(error)}") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{name} is no model: it returns {made!r:.60}, and no nn.Module.")
    return made


def timm(name: str) -> Callable[..., nn.Module]:
    """The function that makes a model of the package timm: `timm/resnet18` names its resnet18.

    Raises:
        ConfigError: timm has no such model.
    """
    # timm needs torchvision, which cannot be imported without this where its operators do not load.
    from cutlayer.nets import _torchvision  # noqa: F401

    module = importlib.import_module("timm")
    if not module.is_model(name):
        raise ConfigError(f"timm has no model {name!r}; {near(name, module.list_models())}")

    def make(input: TensorSpec = IMAGENET, classes: int = 1000) -> nn.Module:
        channels, height, width = input.shape
        options = {"num_classes": classes, "in_chans": channels}
        try:
            # Transformers have to know the size of the images; convolutional networks do not take it.
            made: nn.Module = module.create_model(name, img_size=(height, width), **options)
        except TypeError:
            made = module.create_model(name, **options)
        return made

    return make


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
    from cutlayer.nets._torchvision import models

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
