"""The tensors at which the graph of an ONNX file can be cut in two.

A seam is a tensor that carries all that the second half needs of the first: an articulation point where there is one
input and one output. What an If, a Loop or a Scan takes from outside its body counts as an input of that node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")

OF_SHAPES = ("Shape", "Size")
"""Operators that take the shape of a tensor and not its values."""

VARYING = ("NonZero", "Compress", "NonMaxSuppression", "Unique")
"""Operators whose outputs have a shape that depends on the data."""


@dataclass(frozen=True)
class Seam:
    """What each half takes and gives at a cut, by the names of the file.

    Attributes:
        head: Inputs of the head.
        tail: Inputs of the tail beside the seam.
        kept: Outputs that the head computes.
        answers: Outputs that the tail computes.
    """

    head: tuple[str, ...]
    tail: tuple[str, ...]
    kept: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Seams:
    """All seams of a graph.

    Attributes:
        nodes: The nodes that depend on the inputs and on which the outputs depend, in order.
        found: The seams, by the name of the tensor.
        refused: For every other tensor between the ends, the reason why it is no seam.
    """

    nodes: list[NodeProto]
    found: dict[str, Seam]
    refused: dict[str, str]


def seams(
    model: ModelProto,
    image: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    public: Collection[str],
    state: Mapping[str, str],
) -> Seams:
    """Find all seams of a model's graph between its inputs and its outputs.

    Args:
        model: The model.
        image: The input that every head hides.
        inputs: All inputs.
        outputs: Its outputs.
        public: Inputs that both halves may take, like constants.
        state: Inputs that take what an output of the request before gave: input name to output name.
    """
    graph = model.graph
    hidden = [name for name in inputs if name not in public]
    nodes = _path(graph, hidden, outputs)
    reach = _Reach(nodes, hidden)
    branching = _branching_functions(model)
    found: dict[str, Seam] = {}
    refused: dict[str, str] = {}
    hides_image = 1 << hidden.index(image)
    for i, node in enumerate(nodes):
        refused |= {
            name: f"it lies inside the control flow of {node.name or node.op_type}"
            for body in bodies(node)
            for inner in _all_nodes(body)
            for name in inner.output
        }
        for name in node.output:
            if name not in reach.users:
                continue
            seam = reach.seam(name, i, outputs, state)
            if isinstance(seam, str):
                refused[name] = seam
            elif not reach.taken[i] & hides_image:
                refused[name] = f"{image} would be sent to the server as it is"
            elif node.op_type in CONTROL_FLOW or (node.domain, node.op_type) in branching:
                refused[name] = f"{node.op_type} is control flow, which may give another shape for other data"
            else:
                found[name] = seam
    return Seams(nodes, found, refused)


class _Reach:
    """What each node depends on and what depends on it, as sets of bits: bit i is node i, or input i.

    Attributes:
        users: For each tensor that is taken, the nodes that take it.
        taken: For each node, the inputs on which it depends.
    """

    def __init__(self, nodes: Sequence[NodeProto], inputs: Sequence[str]) -> None:
        self._nodes, self._inputs = nodes, list(inputs)
        self._producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
        place = {name: i for i, name in enumerate(inputs)}
        self.users: dict[str, int] = {}
        self._before: list[int] = []
        self.taken: list[int] = []
        for i, node in enumerate(nodes):
            before, taken = 1 << i, 0
            for name in sources(node):
                if name in place:
                    taken |= 1 << place[name]
                elif name in self._producer:
                    before |= self._before[self._producer[name]]
                    taken |= self.taken[self._producer[name]]
                else:
                    continue
                self.users[name] = self.users.get(name, 0) | 1 << i
            self._before.append(before)
            self.taken.append(taken)
        self._behind = [0] * len(nodes)
        for i in reversed(range(len(nodes))):
            self._behind[i] = 1 << i
            for name in nodes[i].output:
                self._behind[i] |= self.behind(name)

    def behind(self, name: str) -> int:
        """The nodes that depend on a tensor."""
        behind, users = 0, self.users.get(name, 0)
        while users:
            first = users & -users
            behind |= self._behind[first.bit_length() - 1]
            users ^= first
        return behind

    def seam(self, name: str, at: int, outputs: Sequence[str], state: Mapping[str, str]) -> Seam | str:
        """The seam at a tensor that node `at` gives, or the reason why it is none."""
        head, taken, behind = self._before[at], self.taken[at], self.behind(name)
        answers: list[str] = []
        apart: list[str] = []
        for output in outputs:
            producer = self._producer.get(output)
            if producer is not None and head >> producer & 1:
                continue
            if producer is None or behind >> producer & 1:
                answers.append(output)
            elif self._before[producer] & head or self.taken[producer] & taken:
                apart.append(output)
            else:
                answers.append(output)
        for output in apart:
            # What is computed beside the seam: state that stays on the device.
            if output not in state.values():
                return f"{output}, another output, would have to be computed on the device as well"
            head |= self._before[self._producer[output]]
            taken |= self.taken[self._producer[output]]
        if not any(behind >> self._producer[output] & 1 for output in answers if output in self._producer):
            return "no answer depends on it"
        rest = (1 << len(self._nodes)) - 1 & ~head
        inputs = [name for i, name in enumerate(self._inputs) if taken >> i & 1]
        crossing = list(islice(self._crossing(name, head, rest, inputs), 3))
        if crossing:
            more = " and others" if len(crossing) > 2 else ""
            return f"{', '.join(sorted(crossing[:2]))}{more} would have to be sent as well"
        for i, input in enumerate(self._inputs):
            producer = self._producer.get(state.get(input, ""))
            if producer is not None and head >> producer & 1 and not taken >> i & 1 and input in self.users:
                return f"{input}, which is state of the tail, would have to come from the head, undefended"
        used = [n for n in self._inputs if n in self.users]
        return Seam(
            tuple(n for n in used if n in inputs),
            tuple(n for n in used if n not in inputs),
            tuple(n for n in outputs if n not in answers),
            tuple(answers),
        )

    def _crossing(self, seam: str, head: int, rest: int, inputs: Sequence[str]) -> Iterator[str]:
        """Tensors of the head, and inputs that it takes, that the rest takes too; the last ones first."""
        left = head
        while left:
            i = left.bit_length() - 1
            left ^= 1 << i
            for name in self._nodes[i].output:
                if name != seam and self.users.get(name, 0) & rest:
                    yield name
        yield from (name for name in inputs if self.users.get(name, 0) & rest)


def varying_tensors(graph: GraphProto) -> set[str]:
    """Tensors that depend on one whose shape depends on the data."""
    found: set[str] = set()
    for node in graph.node:
        if node.op_type in VARYING or not found.isdisjoint(sources(node)):
            found |= set(node.output)
    return found


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


def closure(graph: GraphProto, starts: Collection[str], ends: Collection[str]) -> list[NodeProto]:
    """The nodes that are needed to compute `ends` from `starts`, constants included, in order."""
    needed = set(ends)
    nodes = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output) and not (set(node.output) & needed) <= set(starts):
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


def _path(graph: GraphProto, inputs: Collection[str], outputs: Collection[str]) -> list[NodeProto]:
    """The nodes that depend on the inputs and on which the outputs depend."""
    downstream = set(inputs)
    path = []
    for node in closure(graph, inputs, outputs):
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
