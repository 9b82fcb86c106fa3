"""A model cut into two halves: head and tail."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, replace
from operator import attrgetter

import torch
from torch import fx, nn

from cutlayer.models.cut import Cut, find_cut
from cutlayer.models.cuts import cut_nodes
from cutlayer.models.graph import between, ends, insert_after, nothing, trace
from cutlayer.models.ranges import output_ranges
from cutlayer.spec import TensorSpec


@dataclass(frozen=True)
class SplitModel:
    """The two halves of a model: in eval mode ``tail(head(x)) == model(x)``.

    Attributes:
        head: The device's half, ``(N, *input.shape)`` to ``(N, *smashed.shape)``.
        tail: The server's half, ``(N, *smashed.shape)`` to ``(N, classes)``.
        cut: Name of the cut, one of `cutlayer.models.cuts.cuts`.
        input: One input.
        smashed: The head's output for one input; bounded where the layer before the cut bounds it.
    """

    head: nn.Module
    tail: nn.Module
    cut: str
    input: TensorSpec
    smashed: TensorSpec

    @property
    def sequence(self) -> bool:
        """Whether both input and smashed data are sequences, which may be shorter than their specifications say."""
        return self.input.is_tokens and len(self.smashed.shape) > 1 and self.smashed.shape[0] == self.input.shape[0]


def split(model: nn.Module, cut: str, input: TensorSpec) -> SplitModel:
    """Cut any model in two that torch.fx or torch.export can trace.

    The halves share the parameters of the model, under the same names: training one trains the model. All
    three are in eval mode afterwards.

    Args:
        model: A model with one input and one output.
        cut: Name or alias of a cut.
        input: One input.

    Raises:
        SplitError: The model has no such cut, or cannot be traced.
    """
    traced = trace(model, input)
    nodes = dict(cut_nodes(traced, input))
    chosen = find_cut(nodes, cut)
    return split_at(traced, chosen, nodes[chosen], input)


def split_at(model: fx.GraphModule, cut: Cut, node: fx.Node, input: TensorSpec) -> SplitModel:
    """`split` for a traced model at one of its `cut_nodes`."""
    image, logits = ends(model.graph)
    head = _part(model, image, node, "image", "Head")
    tail = _part(model, node, logits, "smashed", "Tail")
    return SplitModel(head, tail, cut.name, input, cut.smashed)


def copied(split: SplitModel) -> SplitModel:
    """The same halves with parameters of their own."""
    head, tail = copy.deepcopy((split.head, split.tail))
    return replace(split, head=head, tail=tail)


def join(split: SplitModel) -> fx.GraphModule:
    """Join the halves to the whole model, under the names of their modules; it shares its parameters with them."""
    head, tail = trace(split.head), trace(split.tail)
    graph = fx.Graph()
    _, smashed = ends(head.graph)
    received, logits = ends(tail.graph)
    copies: dict[fx.Node, fx.Node] = {}
    parts: dict[str, object] = {}
    for half in (head, tail):
        for node in half.graph.nodes:
            if node is received:
                copies[node] = copies[smashed]
            elif node.op != "output":
                copies[node] = graph.node_copy(node, copies.__getitem__)
            if node.op in ("call_module", "get_attr"):
                part = attrgetter(node.target)(half)
                # A graft gives both halves a child of the same name.
                if parts.setdefault(node.target, part) is not part:
                    copies[node].target = f"{node.target}_tail"
                    parts[f"{node.target}_tail"] = part
    graph.output(copies[logits])
    return fx.GraphModule(parts, graph, class_name="Model").eval()


def graft(
    split: SplitModel, name: str, *, to_head: nn.Module | None = None, to_tail: nn.Module | None = None
) -> SplitModel:
    """Copies of the halves with a child `name` at the end of the head, the start of the tail, or both.

    Args:
        split: The halves, which are not changed.
        name: Name of the new children; a number is appended if a half has a child of that name already.
        to_head: Module that takes the output of the head.
        to_tail: Module that takes the output of the new head.
    """
    split = copied(split)
    head, tail = trace(split.head), trace(split.tail)
    smashed, taken = split.smashed, {*dict(head.named_children()), *dict(tail.named_children())}
    numbered = (f"{name}{k}" for k in itertools.count(2))
    name = next(free for free in itertools.chain([name], numbered) if free not in taken)
    if to_head is not None:
        _, end = ends(head.graph)
        added = insert_after(head, end, name, to_head)
        with torch.no_grad():
            shape = tuple(head(nothing(split.input, 1)).shape[1:])
        bounds = output_ranges(head, (split.input.low, split.input.high))[added]
        smashed = TensorSpec(shape, smashed.dtype, *bounds)
    if to_tail is not None:
        insert_after(tail, ends(tail.graph)[0], name, to_tail)
    return replace(split, head=head, tail=tail, smashed=smashed)


def _part(model: fx.GraphModule, start: fx.Node, end: fx.Node, argument: str, title: str) -> fx.GraphModule:
    """The nodes between `start` and `end` as a model of its own."""
    graph = fx.Graph()
    copies = {start: graph.placeholder(argument)}
    for node in between(start, end):
        copies[node] = graph.node_copy(node, copies.__getitem__)
        # As in `trace`: a functional call must not change the smashed data in place either.
        if node.kwargs.get("inplace"):
            copies[node].kwargs = {**copies[node].kwargs, "inplace": False}
    graph.output(copies[end])
    # The containers that GraphModule creates would stay in training mode, and an exporter that saves and restores
    # the mode of the whole model would then put batch normalization in training mode too.
    return fx.GraphModule(model, graph, class_name=title).eval()
