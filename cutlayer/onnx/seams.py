"""The tensors at which the graph of an ONNX file can be cut in two.

A seam is a tensor that carries all that the second half needs of the first: an articulation point where there is one
input and one output. What an If, a Loop or a Scan takes from outside its body counts as an input of that node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from graphlib import TopologicalSorter
from itertools import islice
from operator import or_
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

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
    reach = _Reach(nodes, hidden, outputs, state)
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
            seam = reach.seam(name, i)
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

    def __init__(
        self, nodes: Sequence[NodeProto], inputs: Sequence[str], outputs: Sequence[str], state: Mapping[str, str]
    ) -> None:
        self._nodes, self._inputs, self._outputs, self._state = nodes, list(inputs), outputs, state
        self._producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
        self._sources = [sources(node) for node in nodes]
        place = {name: i for i, name in enumerate(inputs)}
        self.users: dict[str, list[int]] = {}
        self._before: list[int] = []
        self.taken: list[int] = []
        for i, names in enumerate(self._sources):
            before, taken = 1 << i, 0
            for name in names:
                if name in place:
                    taken |= 1 << place[name]
                elif name in self._producer:
                    before |= self._before[self._producer[name]]
                    taken |= self.taken[self._producer[name]]
                else:
                    continue
                self.users.setdefault(name, []).append(i)
            self._before.append(before)
            self.taken.append(taken)
        self._used = [name for name in inputs if name in self.users]
        self._giving: dict[int, list[str]] = {}
        for output in outputs:
            if output in self._producer:
                self._giving.setdefault(self._producer[output], []).append(output)
        self._gives = _bits(self._giving)
        users = {name: _bits(takers) for name, takers in self.users.items()}
        # Of each node: the nodes that take what it gives, and those that take anything on which it depends.
        self._next = [_union(users.get(name, 0) for name in node.output) for node in nodes]
        self._beside: list[int] = []
        for names in self._sources:
            takers = {self._producer[name] for name in names if name in self._producer}
            beside = _union(self._beside[i] | self._next[i] for i in takers)
            self._beside.append(beside | _union(users[name] for name in names if name in place))
        self._behind = [0] * len(nodes)
        for i in reversed(range(len(nodes))):
            self._behind[i] = 1 << i | _union(map(self.behind, nodes[i].output))

    def behind(self, name: str) -> int:
        """The nodes that depend on a tensor."""
        return _union(self._behind[i] for i in self.users.get(name, ()))

    def seam(self, name: str, at: int) -> Seam | str:
        """The seam at a tensor that node `at` gives, or the reason why it is none."""
        head, taken, behind = self._before[at], self.taken[at], self.behind(name)
        takers = self._beside[at]
        for other in self._nodes[at].output:
            if other != name:
                takers |= _bits(self.users.get(other, ()))
        for producer in _ones(self._gives & ~head & ~behind):
            if not (self._before[producer] & self._before[at] or self.taken[producer] & self.taken[at]):
                continue
            # What is computed beside the seam: state that stays on the device.
            for output in self._giving[producer]:
                if output not in self._state.values():
                    return f"{output}, another output, would have to be computed on the device as well"
            head |= self._before[producer]
            taken |= self.taken[producer]
            takers |= self._beside[producer] | self._next[producer]
        if not behind & self._gives:
            return "no answer depends on it"
        if crossing := takers & ~head:
            names = list(islice(self._crossing(name, head, crossing, taken), 3))
            more = " and others" if len(names) > 2 else ""
            return f"{', '.join(sorted(names[:2]))}{more} would have to be sent as well"
        inputs = {name for i, name in enumerate(self._inputs) if taken >> i & 1}
        for input, output in self._state.items():
            producer_of_state = self._producer.get(output)
            in_head = producer_of_state is not None and head >> producer_of_state & 1
            if in_head and input not in inputs and input in self.users:
                return f"{input}, which is state of the tail, would have to come from the head, undefended"
        kept = {output for producer, outputs in self._giving.items() if head >> producer & 1 for output in outputs}
        return Seam(
            tuple(n for n in self._used if n in inputs),
            tuple(n for n in self._used if n not in inputs),
            tuple(n for n in self._outputs if n in kept),
            tuple(n for n in self._outputs if n not in kept),
        )

    def _crossing(self, seam: str, head: int, takers: int, taken: int) -> Iterator[str]:
        """Tensors of the head, and inputs that it takes, that some nodes of the rest take too; of `SHOWN` nodes."""
        inputs = {name for i, name in enumerate(self._inputs) if taken >> i & 1}
        found = {seam}
        for i in islice(_ones(takers), SHOWN):
            for name in sorted(self._sources[i] - found):
                if name in inputs or (name in self._producer and head >> self._producer[name] & 1):
                    found.add(name)
                    yield name


SHOWN = 16
"""Nodes behind a tensor that is no seam of which is said what else they take."""


def _union(sets: Iterable[int]) -> int:
    return reduce(or_, sets, 0)


def _bits(places: Iterable[int]) -> int:
    """The set of these places."""
    return _union(1 << place for place in places)


def _ones(bits: int) -> Iterator[int]:
    """The places in a set, the first ones first."""
    while bits:
        first = bits & -bits
        yield first.bit_length() - 1
        bits ^= first


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


class Index:
    """Which node gives each tensor and what each takes, so that a part of a graph is found in the time of the part.

    Attributes:
        graph: The graph, which must not change.
        nodes: Its nodes.
        sources: For each node, the tensors that it takes; see `sources`.
    """

    def __init__(self, graph: GraphProto) -> None:
        self.graph, self.nodes = graph, list(graph.node)
        self.sources = [sources(node) for node in self.nodes]
        self._producer = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self._weights = {tensor.name: i for i, tensor in enumerate(graph.initializer)}
        self._sparse = {tensor.values.name: i for i, tensor in enumerate(graph.sparse_initializer)}

    def closure(self, starts: Collection[str], ends: Collection[str]) -> list[int]:
        """The places of the nodes that are needed to compute `ends` from `starts`, constants included, in order."""
        found: set[int] = set()
        wanted = list(ends)
        while wanted:
            name = wanted.pop()
            place = self._producer.get(name)
            if place is not None and place not in found and name not in starts:
                found.add(place)
                wanted += self.sources[place]
        return sorted(found)

    def weights(self, names: Collection[str]) -> tuple[list[TensorProto], list[SparseTensorProto]]:
        """The initializers of these names, and the sparse ones, each in the order of the graph."""
        dense, sparse = (
            sorted(places[name] for name in names if name in places) for places in (self._weights, self._sparse)
        )
        return [self.graph.initializer[i] for i in dense], [self.graph.sparse_initializer[i] for i in sparse]


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
    index = Index(graph)
    for place in index.closure(inputs, outputs):
        if not downstream.isdisjoint(index.sources[place]):
            downstream |= set(index.nodes[place].output)
            path.append(index.nodes[place])
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
