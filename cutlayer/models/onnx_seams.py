"""Where the graph of an ONNX file falls into two, and the two models it falls into.

A seam is a tensor that everything after it depends on and that depends on everything before it: an articulation point.
What an If, a Loop or a Scan takes from outside its body counts as an input of that node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from cutlayer.models.onnx_file import OnnxFile, the_package

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


@dataclass(frozen=True)
class Seams:
    """What the graph offers.

    Attributes:
        path: The nodes that lie between the input and the output, in order.
        found: Tensor to the node that gives it, for each seam, in order.
        refused: Any other tensor of the path to the reason why it is none.
    """

    path: tuple[NodeProto, ...]
    found: Mapping[str, NodeProto]
    refused: Mapping[str, str]


def seams(graph: GraphProto, image: str, logits: str) -> Seams:
    """All seams of a graph from its input to its output, both excluded."""
    path = _path(graph, image, logits)
    last_use = {name: i for i, node in enumerate(path) for name in sources(node)} | {logits: len(path)}
    live = {image}
    found: dict[str, NodeProto] = {}
    refused: dict[str, str] = {}
    for i, node in enumerate(path):
        refused |= {
            name: f"it lies inside the control flow of {node.name or node.op_type}"
            for graph in _bodies(node)
            for inner in _all_nodes(graph)
            for name in inner.output
        }
        given = [name for name in node.output if last_use.get(name, -1) > i]
        live = {name for name in live if last_use[name] > i} | set(given)
        for name in given:
            if name == logits:
                continue
            others = sorted(live - {name})
            if others:
                more = f" and {len(others) - 2} more" if len(others) > 2 else ""
                refused[name] = f"{', '.join(others[:2])}{more} would have to be sent as well"
            elif node.op_type in CONTROL_FLOW:
                refused[name] = f"{node.op_type} is control flow, which may give another shape for other data"
            else:
                found[name] = node
    return Seams(tuple(path), found, refused)


def has_control_flow(graph: GraphProto) -> bool:
    """Whether any node holds a body of its own."""
    return any(True for node in graph.node for _ in _bodies(node))


def halves(
    file: OnnxFile, cut: str, smashed: Sequence[int], logits: Sequence[int], *, free: bool
) -> tuple[ModelProto, ModelProto]:
    """Head and tail as models of their own, with the opsets, local functions and metadata of the file.

    Initializers and constants go where they are needed, to both where both need them. The tensors at the ends are named
    as in any split folder, and an output of several axes is flattened to one.

    Args:
        file: The whole.
        cut: A seam.
        smashed: Shape of one sample of it.
        logits: Shape of one sample of the output.
        free: Whether the batch axis is left open; one sample at a time otherwise.
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
    if len(logits) != 1:
        renamed = {"logits": _unused("unflattened", tail.graph)}
        _rename(tail.graph.node, renamed)
        tail.graph.node.append(onnx.helper.make_node("Flatten", [renamed["logits"]], ["logits"], axis=1))
    return head, tail


def closure(graph: GraphProto, start: str, end: str) -> list[NodeProto]:
    """The nodes it takes to compute `end` from `start`, constants included, in order."""
    needed = {end}
    nodes = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output) and start not in node.output:
            nodes.append(node)
            needed |= sources(node)
    return nodes[::-1]


def sources(node: NodeProto) -> set[str]:
    """The tensors that a node takes, those that its bodies take from outside among them."""
    names = {name for name in node.input if name}
    for body in _bodies(node):
        inner = {value.name for values in (body.input, body.initializer) for value in values}
        inner |= {name for part in body.node for name in part.output}
        taken = {name for part in body.node for name in sources(part)} | {value.name for value in body.output}
        names |= taken - inner
    return names


def _path(graph: GraphProto, image: str, logits: str) -> list[NodeProto]:
    """The nodes that depend on the input and that the output depends on."""
    downstream = {image}
    path = []
    for node in closure(graph, image, logits):
        if not downstream.isdisjoint(sources(node)):
            downstream |= set(node.output)
            path.append(node)
    return path


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for body in _bodies(node):
            yield from _all_nodes(body)


def _part(whole: ModelProto, ends: tuple[str, ...], values: Sequence[ValueInfoProto]) -> ModelProto:
    """What leads from one tensor to another, these two under the names of `values`."""
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
    # Whatever else is called so, such as an image that the model makes of its input.
    clashes = set(renamed.values()) & _names(part.graph) - set(renamed)
    renamed |= {name: _unused(name, part.graph) for name in clashes}
    _rename(part.graph.node, renamed)
    for weights in part.graph.initializer:
        weights.name = renamed.get(weights.name, weights.name)
    return part


def _names(graph: GraphProto) -> set[str]:
    """Every tensor of the graph, and of the bodies in it."""
    names = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    for node in graph.node:
        names |= set(node.output) | set(node.input)
        for body in _bodies(node):
            names |= _names(body)
    return names


def _unused(name: str, graph: GraphProto) -> str:
    names = _names(graph)
    return next(f"{name}_{i}" for i in range(len(names) + 1) if f"{name}_{i}" not in names)


def _rename(nodes: Sequence[NodeProto], names: Mapping[str, str]) -> None:
    """Give tensors other names wherever they are used, in bodies too."""
    for node in nodes:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
        for body in _bodies(node):
            _rename(body.node, names)
            for value in (*body.input, *body.output, *body.initializer):
                value.name = names.get(value.name, value.name)
