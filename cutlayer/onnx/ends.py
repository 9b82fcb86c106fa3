"""Both ends of an ONNX model made float32: images in [0, 1] go in and float32 comes out, whatever the file takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.errors import ConfigError
from cutlayer.onnx.file import OnnxFile
from cutlayer.onnx.protos import editable, the_package
from cutlayer.onnx.types import from_float32, to_float32

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

AS_IT_IS = (0.0,), (1.0,)
"""Mean and deviation that change nothing."""

UNSIGNED = (0.0,), (1 / 255,)
"""Mean and deviation of a model that takes uint8, as a camera gives it."""


def with_float32_ends(file: OnnxFile, mean: Sequence[float], std: Sequence[float]) -> OnnxFile:
    """The model that takes ``x`` in [0, 1] and gives the output of `file` for ``(x - mean) / std``, both in float32.

    Args:
        file: The model.
        mean: One number, or one for each channel.
        std: One number, or one for each channel, above 0; 1 / 255 for a model that takes 0 to 255. A model that takes
            uint8 gets 0 to 255 where neither mean nor deviation is stated.

    Raises:
        ConfigError: There are not as many numbers as channels, or a deviation is not above 0.
    """
    if file.takes == "uint8" and (tuple(mean), tuple(std)) == AS_IT_IS:
        mean, std = UNSIGNED
    proto = editable(file.proto)
    graph = proto.graph
    first: list[NodeProto] = []
    image = file.image
    if file.takes != "float32":
        image, taken = free_name("image_float32", file), image
        first = from_float32(image, taken, file.takes, graph)
    if (tuple(mean), tuple(std)) != AS_IT_IS:
        image, taken = free_name("unit_image", file), image
        first = _normalizing(file, image, taken, mean, std, proto) + first
    last: list[NodeProto] = []
    logits = file.logits
    if file.gives != "float32":
        logits = free_name("logits_float32", file)
        last = to_float32(file.logits, logits)
    if not first and not last:
        return file
    onnx = the_package()
    for values, old, new in ((graph.input, file.image, image), (graph.output, file.logits, logits)):
        for value in values:
            if value.name == old:
                value.name = new
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    return replace(file, proto=proto, image=image, logits=logits)


def _normalizing(
    file: OnnxFile, image: str, normalized: str, mean: Sequence[float], std: Sequence[float], proto: ModelProto
) -> list[NodeProto]:
    """The nodes from an image in [0, 1] to a normalized one; `proto` gets mean and deviation as initializers."""
    onnx = the_package()
    shape = file.input.shape
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in {1, shape[0], shape[-1]} or not all(map(isfinite, numbers)):
            raise ConfigError(
                f"--{name} must be one number, or one for each channel of {file.input}; {len(numbers)} were given."
            )
    if min(std) <= 0:
        raise ConfigError(f"--std must be above 0; {min(std):g} was given.")
    mean_name, std_name, centered = (free_name(name, file) for name in ("unit_mean", "unit_std", "unit_centered"))
    for name, numbers in ((mean_name, mean), (std_name, std)):
        axes = [1] * len(shape)
        # Channels first, unless only the last axis has as many.
        axes[0 if len(numbers) == shape[0] else -1] = len(numbers)
        array = np.array(numbers, np.float32).reshape(1, *axes)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return [
        onnx.helper.make_node("Sub", [image, mean_name], [centered], name=centered),
        onnx.helper.make_node("Div", [centered, std_name], [normalized], name="normalize"),
    ]


def free_name(name: str, file: OnnxFile) -> str:
    """The name, or the name with underscores behind it where the file has a tensor of that name."""
    graph = file.proto.graph
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    names |= {tensor.name for tensor in graph.initializer}
    while name in names:
        name += "_"
    return name
