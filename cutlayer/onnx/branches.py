"""Branches that are always the same: an If whose condition no input decides is replaced by the branch that it takes.

Exporters write such conditions about shapes and options, such as a sampling rate, which the user has fixed by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cutlayer.onnx.names import names_in, rename, unused, weights
from cutlayer.onnx.protos import editable, open_proto, run, the_package
from cutlayer.onnx.seams import OF_SHAPES, sources

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

MOST_ROUNDS = 32
"""Depth of branches within branches."""


def without_fixed_branches(model: ModelProto, inputs: Mapping[str, NDArray[Any]]) -> ModelProto:
    """The model with the branches that it takes for every input of these shapes.

    Args:
        model: The model.
        inputs: Any values of its inputs, whole, in the shapes that are to be fixed.
    """
    for _ in range(MOST_ROUNDS):
        undecided = _decided_by_values(model.graph, inputs)
        fixed = [node for node in model.graph.node if node.op_type == "If" and node.input[0] not in undecided]
        if not fixed:
            return model
        asked = editable(model)
        del asked.graph.output[:]
        conditions = sorted({node.input[0] for node in fixed})
        # Without types, which ONNX Runtime infers. The conditions may be constants, which are no outputs otherwise.
        nodes = [the_package().helper.make_node("Identity", [name], [f"{name}:taken"]) for name in conditions]
        asked.graph.node.extend(nodes)
        asked.graph.output.extend(the_package().ValueInfoProto(name=f"{name}:taken") for name in conditions)
        values = run(open_proto(asked, plain=True), inputs, [f"{name}:taken" for name in conditions])
        taken = {name: bool(value.item()) for name, value in zip(conditions, values, strict=True)}
        model = _with_branches(model, taken)
    return model


def _decided_by_values(graph: GraphProto, inputs: Mapping[str, NDArray[Any]]) -> set[str]:
    """Tensors whose values depend on those of the inputs, and not on their shapes alone."""
    dependent = set(inputs)
    for node in graph.node:
        if node.op_type not in OF_SHAPES and not dependent.isdisjoint(sources(node)):
            dependent |= set(node.output)
    return dependent


def _with_branches(model: ModelProto, taken: Mapping[str, bool]) -> ModelProto:
    model = editable(model)
    graph = model.graph
    left = [node for node in graph.node if node.op_type != "If" or node.input[0] not in taken]
    names = {name for node in graph.node for name in node.output} | {value.name for value in graph.input}
    names |= names_in(type(graph)(node=left, initializer=graph.initializer, input=graph.input))
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "If" and node.input[0] in taken:
            nodes += _branch(node, graph, names, then=taken[node.input[0]])
        else:
            nodes.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return model


def _branch(node: NodeProto, graph: GraphProto, names: set[str], *, then: bool) -> list[NodeProto]:
    """The nodes of one branch, under names of their own; `graph` gets its weights, and `names` the new names."""
    onnx = the_package()
    wanted = "then_branch" if then else "else_branch"
    body = onnx.GraphProto()
    body.CopyFrom(next(attribute.g for attribute in node.attribute if attribute.name == wanted))
    inside = [name for part in body.node for name in part.output if name] + [tensor.name for tensor in weights(body)]
    given = dict(zip((value.name for value in body.output), node.output, strict=True))
    computed = {name for part in body.node for name in part.output}
    renamed = {name: given[name] for name in given if name in computed}
    for name in inside:
        if name not in renamed:
            renamed[name] = unused(name, names)
            names.add(renamed[name])
    rename(body.node, renamed)
    for tensor in weights(body):
        tensor.name = renamed[tensor.name]
    graph.initializer.extend(body.initializer)
    graph.sparse_initializer.extend(body.sparse_initializer)
    # Outputs that the branch takes from outside or from its weights, or that it gives twice.
    passed = [
        onnx.helper.make_node("Identity", [renamed.get(value.name, value.name)], [output], name=output)
        for value, output in zip(body.output, node.output, strict=True)
        if renamed.get(value.name) != output
    ]
    return [*body.node, *passed]
