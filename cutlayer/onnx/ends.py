"""Both ends of an ONNX model as the two sides take them: a batch first, and an image from 0 to 1 in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.errors import ConfigError
from cutlayer.onnx.file import OnnxFile
from cutlayer.onnx.given import NOTHING, Given
from cutlayer.onnx.names import GIVEN, TAKEN, names_in, renamed, surround, unused
from cutlayer.onnx.protos import editable, opset, the_package
from cutlayer.onnx.types import element_type, from_float32
from cutlayer.spec import TensorSpec

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

IMAGE_AXES = 3
"""Axes of one image, of which one may have length 1."""

AXES_AS_INPUT = 13
"""First opset in which the axes of Unsqueeze are an input."""

AS_IT_IS = (0.0,), (1.0,)
"""Mean and deviation that change nothing."""

UNSIGNED = (0.0,), (1 / 255,)
"""Mean and deviation of a model that takes uint8, as a camera gives it."""


def with_batches(file: OnnxFile, given: Given = NOTHING) -> OnnxFile:
    """The model whose inputs and outputs all have a batch first, of one sample, and which takes ``x`` in [0, 1].

    An input or output whose first axis is not one sample long gets an axis before it. The image is normalized to
    ``(x - mean) / std``; a model that takes an image of uint8 gets 0 to 255, where neither of these is stated.

    Raises:
        ConfigError: There are not as many numbers as channels, or a deviation is not above 0.
    """
    onnx = the_package()
    proto = editable(file.proto)
    graph = proto.graph
    inputs = {name: _sample(spec) for name, spec in file.inputs.items()}
    outputs = {name: _sample(spec) for name, spec in file.outputs.items()}
    taken = renamed(graph, [name for name, spec in file.inputs.items() if inputs[name].shape == spec.shape], TAKEN)
    answers = renamed(graph, [name for name, spec in file.outputs.items() if outputs[name].shape == spec.shape], GIVEN)
    names = {*names_in(graph), *taken, *answers}
    first = [reshape(graph, name, inner, file.inputs[name].shape, names) for name, inner in taken.items()]
    last = [_with_an_axis(proto, inner, name, names) for name, inner in answers.items()]
    surround(graph, first, last)
    inputs[file.image] = _unit_image(graph, file.image, inputs[file.image], given)
    # What the file says of types in between may be wrong, and counts only where an output states none.
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(
        onnx.helper.make_tensor_value_info(name, element_type(spec.dtype), [1, *spec.shape])
        for name, spec in inputs.items()
    )
    # Without types, which ONNX Runtime infers.
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return replace(file, proto=proto, inputs=inputs, outputs=outputs)


def _sample(whole: TensorSpec) -> TensorSpec:
    """One sample: the tensor without a first axis of length one, or the whole tensor."""
    return replace(whole, shape=whole.shape[1:]) if whole.shape[:1] == (1,) else whole


def reshape(graph: GraphProto, tensor: str, name: str, shape: Sequence[int], taken: set[str]) -> NodeProto:
    """The node that gives a tensor another shape, which becomes a constant of the graph; `taken` gets its name."""
    onnx = the_package()
    sizes = unused(f"{name}_shape", taken)
    taken.add(sizes)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(shape, np.int64), sizes))
    node: NodeProto = onnx.helper.make_node("Reshape", [tensor, sizes], [name], name=name)
    return node


def _with_an_axis(model: ModelProto, tensor: str, name: str, taken: set[str]) -> NodeProto:
    """The node that gives a tensor a first axis of length one, of whatever shape it is."""
    onnx = the_package()
    node: NodeProto
    if opset(model) < AXES_AS_INPUT:
        node = onnx.helper.make_node("Unsqueeze", [tensor], [name], name=name, axes=[0])
        return node
    axes = unused(f"{name}_axis", taken)
    taken.add(axes)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), axes))
    node = onnx.helper.make_node("Unsqueeze", [tensor, axes], [name], name=name)
    return node


def _unit_image(graph: GraphProto, image: str, sample: TensorSpec, given: Given) -> TensorSpec:
    """Make an input take what is in [0, 1], normalized first; return what it then takes."""
    onnx = the_package()
    mean, std = tuple(given.mean), tuple(given.std)
    if sample.dtype == "uint8" and len(sample.shape) >= IMAGE_AXES:
        if (mean, std) == AS_IT_IS:
            mean, std = UNSIGNED
        surround(graph, from_float32(image, renamed(graph, [image], TAKEN)[image], "uint8", graph), [])
    elif sample.dtype != "float32":
        if (mean, std) != AS_IT_IS:
            raise ConfigError(f"{image} takes {sample.dtype}, which is not normalized; leave out --mean and --std.")
        return sample
    unit = replace(sample, dtype="float32", low=0.0, high=1.0)
    if (mean, std) == AS_IT_IS:
        return unit
    shape = sample.shape
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in {1, *shape[:1], *shape[-1:]} or not all(map(isfinite, numbers)):
            raise ConfigError(
                f"--{name} must be one number, or one for each channel of {sample}; {len(numbers)} were given."
            )
    if min(std) <= 0:
        raise ConfigError(f"--std must be above 0; {min(std):g} was given.")
    normalized = renamed(graph, [image], TAKEN)[image]
    taken = names_in(graph)
    mean_name, std_name, centered = (unused(f"{image}_{what}", taken) for what in ("mean", "std", "centered"))
    for name, numbers in ((mean_name, mean), (std_name, std)):
        axes = [1] * len(shape)
        if axes:
            # Channels first, unless only the last axis has as many.
            axes[0 if len(numbers) == shape[0] else -1] = len(numbers)
        array = np.array(numbers, np.float32).reshape(1, *axes)
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    first = [
        onnx.helper.make_node("Sub", [image, mean_name], [centered], name=centered),
        onnx.helper.make_node("Div", [centered, std_name], [normalized], name="normalize"),
    ]
    surround(graph, first, [])
    return unit
