"""The range of each node's output, as far as the graph alone determines it."""

import operator

import torch
from torch import fx, nn
from torch.nn import functional

from cutlayer.models.bounds import Clip, Codebook, Sphere
from cutlayer.models.normalize import Normalize

Range = tuple[float | None, float | None]

UNKNOWN: Range = (None, None)

_ATEN = torch.ops.aten
_OPERATIONS: dict[Range, tuple[object, ...]] = {
    (-1.0, 1.0): (Clip, nn.Tanh, torch.tanh, "tanh", _ATEN.tanh.default),
    (0.0, 1.0): (
        nn.Sigmoid,
        nn.Hardsigmoid,
        functional.sigmoid,
        torch.sigmoid,
        "sigmoid",
        _ATEN.sigmoid.default,
    ),
    (0.0, 6.0): (nn.ReLU6,),
    (0.0, None): (nn.ReLU, functional.relu, torch.relu, "relu", _ATEN.relu.default),
    # Rounded away from zero, so that no rounding error of a kernel goes beyond them.
    (-1.000001, 1.000001): (Sphere, Codebook),
    (-0.376, None): (nn.Hardswish, _ATEN.hardswish.default),
    (-0.279, None): (nn.SiLU, functional.silu, _ATEN.silu.default),
    (-0.171, None): (nn.GELU, functional.gelu, _ATEN.gelu.default),
}
_BOUNDED = {operation: bounds for bounds, operations in _OPERATIONS.items() for operation in operations}

# Operations whose outputs are inputs, or lie between inputs; dropout only in eval mode.
_PASSING: set[object] = {
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
    functional.adaptive_avg_pool2d, torch.flatten, torch.permute, torch.reshape,
    "contiguous", "flatten", "permute", "reshape", "transpose", "view",
    _ATEN.flatten.using_ints, _ATEN.permute.default, _ATEN.reshape.default,
    _ATEN.transpose.int, _ATEN.view.default,
}  # fmt: skip

_SUMS: set[object] = {operator.add, operator.iadd, torch.add, _ATEN.add.Tensor}


def output_ranges(model: fx.GraphModule, image: Range) -> dict[fx.Node, Range]:
    """The range of each node's output in eval mode, from the range of the model's input."""
    ranges: dict[fx.Node, Range] = {}
    for node in model.graph.nodes:
        if node.op == "placeholder":
            ranges[node] = image
            continue
        kind = type(model.get_submodule(str(node.target))) if node.op == "call_module" else node.target
        sources = [ranges[source] for source in node.all_input_nodes]
        if kind is Normalize:
            ranges[node] = _normalized(model.get_submodule(str(node.target)), sources[0])
        elif kind in _BOUNDED:
            ranges[node] = _BOUNDED[kind]
        elif kind in _PASSING and sources:
            ranges[node] = sources[0]
        elif kind in _SUMS and len(sources) == 2:
            (a, b), (c, d) = sources
            ranges[node] = (_plus(a, c), _plus(b, d))
        else:
            ranges[node] = UNKNOWN
    return ranges


def _normalized(layer: nn.Module, image: Range) -> Range:
    """The range of normalized images, over all channels."""
    if image[0] is None or image[1] is None:
        return UNKNOWN
    mean, std = layer.get_buffer("mean"), layer.get_buffer("std")
    return float(((image[0] - mean) / std).min()), float(((image[1] - mean) / std).max())


def _plus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b
