"""Shapes that a graph computes from its input, replaced by what they are for inputs of one size.

An exporter that leaves sizes open writes them as nodes: the size of the image is read at the beginning and used at the
end, so that no single tensor carries all that follows. For a split the sizes are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.onnx.costs import probe
from cutlayer.onnx.file import OnnxFile
from cutlayer.onnx.protos import editable, open_proto, run, the_package
from cutlayer.onnx.seams import OF_SHAPES, sources, varying_tensors


def with_fixed_shapes(file: OnnxFile, *batches: Mapping[str, NDArray[Any]]) -> OnnxFile:
    """The model in which all that follows from shapes alone is constant, as it is for one sample.

    Args:
        file: The model, with its batch first.
        *batches: Some samples; what differs between them is left as it is.

    Raises:
        Exception: ONNX Runtime cannot run the model.
    """
    graph = file.proto.graph
    varying = varying_tensors(graph)
    by_value, by_shape = set(file.inputs) | varying, set[str]()
    for node in graph.node:
        taken = sources(node)
        of_shapes = node.op_type in OF_SHAPES and taken.isdisjoint(varying)
        if of_shapes and not taken.isdisjoint(by_value | by_shape):
            by_shape |= set(node.output)
        elif not taken.isdisjoint(by_value):
            by_value |= set(node.output)
        elif not taken.isdisjoint(by_shape):
            by_shape |= set(node.output)
    needed = {name for node in graph.node if by_shape.isdisjoint(node.output) for name in sources(node)}
    wanted = sorted(by_shape & (needed | set(file.outputs)))
    if not wanted or by_shape & set(file.outputs):
        return file
    session = open_proto(probe(file, wanted, free=False), plain=True)
    first, *others = (run(session, batch, wanted) for batch in batches)
    if any(not np.array_equal(a, b) for other in others for a, b in zip(first, other, strict=True)):
        return file
    proto = editable(file.proto)
    nodes = [node for node in proto.graph.node if by_shape.isdisjoint(node.output)]
    del proto.graph.node[:], proto.graph.value_info[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(
        the_package().numpy_helper.from_array(np.asarray(array), name)
        for name, array in zip(wanted, first, strict=True)
    )
    return replace(file, proto=proto)
