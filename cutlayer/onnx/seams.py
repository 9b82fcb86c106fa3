"""The tensors at which the graph of an ONNX file can be cut in two.

A seam is a tensor that everything after it depends on and that depends on everything before it: an articulation point.
What an If, a Loop or a Scan takes from outside its body counts as an input of that node.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


def seams(model: ModelProto, image: str, logits: str) -> tuple[list[NodeProto], set[str], dict[str, str]]:
    """All seams of a model's graph from its input to its output, both excluded.

    Returns:
        The nodes between the input and the output, in order; the seams; and, for every other tensor between them, the
        reason why it is no seam.
    """
    path, branching = _path(model.graph, image, logits), _branching_functions(model)
    last_use = {name: i for i, node in enumerate(path) for name in sources(node)} | {logits: len(path)}
    live = {image}
    names: set[str] = set()
    refused: dict[str, str] = {}
    for i, node in enumerate(path):
        refused |= {
            name: f"it lies inside the control flow of {node.name or node.op_type}"
            for graph in bodies(node)
            for inner in _all_nodes(graph)
            for name in inner.output
        }
        outputs = [name for name in node.output if last_use.get(name, -1) > i]
        live = {name for name in live if last_use[name] > i} | set(outputs)
        for name in outputs:
            if name == logits:
                continue
            if besides := sorted(live - {name}):
                more = f" and {len(besides) - 2} more" if len(besides) > 2 else ""
                refused[name] = f"{', '.join(besides[:2])}{more} would have to be sent as well"
            elif node.op_type in CONTROL_FLOW or (node.domain, node.op_type) in branching:
                refused[name] = f"{node.op_type} is control flow, which may give another shape for other data"
            else:
                names.add(name)
    return path, names, refused


def has_control_flow(model: ModelProto) -> bool:
    """Whether any node has a body of its own, also in local functions."""
    nodes = [node for part in (model.graph, *model.functions) for node in part.node]
    return any(True for node in nodes for _ in bodies(node))


def put_in_order(graph: GraphProto) -> None:
    """Move each node behind those whose outputs it takes: ONNX requires that order, ONNX Runtime does not."""
    nodes = list(graph.node)
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    before = {i: [producer[name] for name in sources(node) if name in producer] for i, node in enumerate(nodes)}
    if any(j > i for i, producers in before.items() for j in producers):
        del graph.node[:]
        graph.node.extend(nodes[i] for i in TopologicalSorter(before).static_order())


def closure(graph: GraphProto, start: str, end: str) -> list[NodeProto]:
    """The nodes that are needed to compute `end` from `start`, constants included, in order."""
    needed = {end}
    nodes = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output) and start not in node.output:
            nodes.append(node)
            needed |= sources(node)
    return nodes[::-1]


def sources(node: NodeProto) -> set[str]:
    """The tensors that a node takes, including those that its bodies take from outside."""
    names = {name for name in node.input if name}
    for body in bodies(node):
        inner = {value.name for values in (body.input, body.initializer) for value in values}
        inner |= {tensor.values.name for tensor in body.sparse_initializer}
        inner |= {name for part in body.node for name in part.output}
        taken = {name for part in body.node for name in sources(part)} | {value.name for value in body.output}
        names |= taken - inner
    return names


def _branching_functions(model: ModelProto) -> set[tuple[str, str]]:
    """Domain and name of each local function that has control flow, itself or in a function that it calls."""
    branching: set[tuple[str, str]] = set()
    # Each round finds the callers of the functions of the round before.
    for _ in model.functions:
        branching |= {
            (function.domain, function.name)
            for function in model.functions
            for node in function.node
            if any(True for _ in bodies(node)) or (node.domain, node.op_type) in branching
        }
    return branching


def _path(graph: GraphProto, image: str, logits: str) -> list[NodeProto]:
    """The nodes that depend on the input and on which the output depends."""
    downstream = {image}
    path = []
    for node in closure(graph, image, logits):
        if not downstream.isdisjoint(sources(node)):
            downstream |= set(node.output)
            path.append(node)
    return path


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside a node of control flow; other nodes have none."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from _all_nodes(body)
