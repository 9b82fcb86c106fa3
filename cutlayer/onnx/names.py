"""Names of tensors in a graph and in the bodies of its control flow: found, made, and changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cutlayer.onnx.seams import bodies

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto


GIVEN = "_given"
"""What is put behind the name of a tensor that was an output before it was converted."""


def weights(graph: GraphProto) -> list[TensorProto]:
    """The initializers; a sparse one has the name of its values."""
    return [*graph.initializer, *(tensor.values for tensor in graph.sparse_initializer)]


def names_in(graph: GraphProto) -> set[str]:
    """The names of all tensors of the graph and of the bodies in it."""
    names = {tensor.name for tensor in weights(graph)} | {value.name for value in graph.input}
    for node in graph.node:
        names |= set(node.output) | set(node.input)
        for body in bodies(node):
            names |= names_in(body)
    return names


def unused(name: str, taken: Collection[str]) -> str:
    """The name, or one with a number behind it where the name is taken."""
    if name not in taken:
        return name
    return next(f"{name}_{i}" for i in range(len(taken) + 1) if f"{name}_{i}" not in taken)


def rename(nodes: Sequence[NodeProto], names: Mapping[str, str]) -> None:
    """Rename tensors wherever they are used, also in bodies."""
    for node in nodes:
        for tensors in (node.input, node.output):
            if not names.keys().isdisjoint(tensors):
                tensors[:] = [names.get(name, name) for name in tensors]
        for body in bodies(node):
            rename(body.node, names)
            for value in (*body.input, *body.output, *weights(body)):
                value.name = names.get(value.name, value.name)


TAKEN = "_taken"
"""What is put behind the name of what the nodes take for an input, where others stand between."""


def renamed(graph: GraphProto, names: Iterable[str], behind: str) -> dict[str, str]:
    """Rename tensors wherever nodes use them, so that others can have their names; return the new names.

    Args:
        graph: The graph.
        names: Names of inputs or outputs.
        behind: What is put behind each.
    """
    taken = names_in(graph)
    new: dict[str, str] = {}
    for name in names:
        new[name] = unused(f"{name}{behind}", taken)
        taken.add(new[name])
    rename(graph.node, new)
    return new


def surround(graph: GraphProto, first: Sequence[NodeProto], last: Sequence[NodeProto]) -> None:
    """Put nodes before and behind those of a graph, and forget what it says of the types in between."""
    nodes = [*first, *graph.node, *last]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
