"""Head and tail of an ONNX file, as models of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from cutlayer.onnx.file import OnnxFile
from cutlayer.onnx.protos import the_package
from cutlayer.onnx.seams import bodies, closure, sources
from cutlayer.onnx.types import from_float32, to_float32

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto


def halves(
    file: OnnxFile, cut: str, dtype: str, smashed: Sequence[int], logits: Sequence[int], *, free: bool
) -> tuple[ModelProto, ModelProto]:
    """Head and tail as models of their own, with the opsets, local functions and metadata of the file.

    Each half gets the initializers and constants that it needs. The tensors at the ends are named as in any split
    folder, and an output of several axes is flattened to one.

    Args:
        file: The whole model.
        cut: Name of a seam.
        dtype: Type of the seam; one other than float32 is converted at the end of the head and back in the tail.
        smashed: Shape of one sample of the seam.
        logits: Shape of one sample of the output.
        free: Whether the halves take any batch, or one sample at a time.
    """
    onnx = the_package()
    batch = "N" if free else 1
    ends = (file.image, cut, file.logits)
    names, shapes = ("image", "smashed", "logits"), (file.input.shape, smashed, (prod(logits),))
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, *shape])
        for name, shape in zip(names, shapes, strict=True)
    ]
    head = _part(file.proto, ends[:2], values[:2])
    tail = _part(file.proto, ends[1:], values[1:])
    if dtype != "float32":
        renamed = {"smashed": _unused("smashed", head.graph)}
        _rename(head.graph.node, renamed)
        head.graph.node.extend(to_float32(renamed["smashed"], "smashed"))
        renamed = {"smashed": _unused("smashed", tail.graph)}
        _rename(tail.graph.node, renamed)
        first = from_float32("smashed", renamed["smashed"], dtype, tail.graph)
        nodes = [*first, *tail.graph.node]
        del tail.graph.node[:]
        tail.graph.node.extend(nodes)
    if len(logits) != 1:
        renamed = {"logits": _unused("unflattened", tail.graph)}
        _rename(tail.graph.node, renamed)
        tail.graph.node.append(onnx.helper.make_node("Flatten", [renamed["logits"]], ["logits"], axis=1))
    return head, tail


def _part(whole: ModelProto, ends: tuple[str, ...], values: Sequence[ValueInfoProto]) -> ModelProto:
    """The nodes between two tensors as a model; the two tensors get the names of `values`."""
    onnx = the_package()
    nodes = closure(whole.graph, *ends)
    needed = {name for node in nodes for name in sources(node)}
    part: ModelProto = onnx.ModelProto(
        # Before version 4 each initializer had to be an input as well; otherwise the two are the same.
        ir_version=max(whole.ir_version, 4),
        opset_import=whole.opset_import,
        functions=whole.functions,
        metadata_props=whole.metadata_props,
        producer_name=whole.producer_name,
        producer_version=whole.producer_version,
        graph=onnx.GraphProto(
            name=whole.graph.name or "graph",
            node=nodes,
            initializer=[tensor for tensor in whole.graph.initializer if tensor.name in needed],
            sparse_initializer=[t for t in whole.graph.sparse_initializer if t.values.name in needed],
            input=values[:1],
            output=values[1:],
        ),
    )
    renamed = {end: value.name for end, value in zip(ends, values, strict=True)}
    # Other tensors that have these names, such as an image that the model computes from its input.
    clashes = set(renamed.values()) & _names(part.graph) - set(renamed)
    renamed |= {name: _unused(name, part.graph) for name in clashes}
    _rename(part.graph.node, renamed)
    for weights in _weights(part.graph):
        weights.name = renamed.get(weights.name, weights.name)
    return part


def _weights(graph: GraphProto) -> list[TensorProto]:
    """The initializers; a sparse one has the name of its values."""
    return [*graph.initializer, *(tensor.values for tensor in graph.sparse_initializer)]


def _names(graph: GraphProto) -> set[str]:
    """The names of all tensors of the graph and of the bodies in it."""
    names = {tensor.name for tensor in _weights(graph)} | {value.name for value in graph.input}
    for node in graph.node:
        names |= set(node.output) | set(node.input)
        for body in bodies(node):
            names |= _names(body)
    return names


def _unused(name: str, graph: GraphProto) -> str:
    names = _names(graph)
    return next(f"{name}_{i}" for i in range(len(names) + 1) if f"{name}_{i}" not in names)


def _rename(nodes: Sequence[NodeProto], names: Mapping[str, str]) -> None:
    """Rename tensors wherever they are used, also in bodies."""
    for node in nodes:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
        for body in bodies(node):
            _rename(body.node, names)
            for value in (*body.input, *body.output, *_weights(body)):
                value.name = names.get(value.name, value.name)
