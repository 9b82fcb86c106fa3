"""Normalization as the first layer of an ONNX model: images are in [0, 1] here, and many models take another range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import numpy as np

from cutlayer.errors import ConfigError
from cutlayer.onnx.file import OnnxFile, editable, the_package


def normalizing(file: OnnxFile, mean: Sequence[float], std: Sequence[float]) -> OnnxFile:
    """The model that takes ``x`` in [0, 1] and gives the output of `file` for ``(x - mean) / std``.

    Args:
        file: The model.
        mean: One number, or one for each channel.
        std: One number, or one for each channel, above 0; 1 / 255 for a model that takes 0 to 255.

    Raises:
        ConfigError: There are not as many numbers as channels, or a deviation is not above 0.
    """
    onnx = the_package()
    shape = file.input.shape
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in {1, shape[0], shape[-1]} or not all(map(isfinite, numbers)):
            raise ConfigError(
                f"--{name} must be one number, or one for each channel of {file.input}; {len(numbers)} were given."
            )
    if min(std) <= 0:
        raise ConfigError(f"--std must be above 0; {min(std):g} was given.")
    graph = file.proto.graph
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    names |= {tensor.name for tensor in graph.initializer}
    image, mean_name, std_name, centered = (
        next(f"{name}{'_' * i}" for i in range(len(names) + 1) if f"{name}{'_' * i}" not in names)
        for name in ("unit_image", "unit_mean", "unit_std", "unit_centered")
    )
    proto = editable(file.proto)
    for value in proto.graph.input:
        if value.name == file.image:
            value.name = image
    del proto.graph.node[:]
    proto.graph.node.extend(
        [
            onnx.helper.make_node("Sub", [image, mean_name], [centered], name=centered),
            onnx.helper.make_node("Div", [centered, std_name], [file.image], name="normalize"),
            *graph.node,
        ]
    )
    for name, numbers in ((mean_name, mean), (std_name, std)):
        axes = [1] * len(shape)
        # Channels first, unless only the last axis has as many.
        axes[0 if len(numbers) == shape[0] else -1] = len(numbers)
        array = np.array(numbers, np.float32).reshape(1, *axes)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return replace(file, proto=proto, image=image)
