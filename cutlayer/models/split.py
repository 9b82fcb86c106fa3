"""A model as two halves."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn

from cutlayer.models.cuts import Cut, cut_nodes, find_cut
from cutlayer.models.graph import between, ends, trace
from cutlayer.spec import TensorSpec


@dataclass(frozen=True)
class SplitModel:
    """The two halves of a model: in eval mode ``tail(head(x)) == model(x)``.

    Attributes:
        head: The device's half, ``(N, *input.shape)`` to ``(N, *smashed.shape)``.
        tail: The server's half, ``(N, *smashed.shape)`` to ``(N, classes)``.
        cut: Name of the cut, as `cutlayer.models.cuts.cuts` gives it.
        input: One image.
        smashed: What the head gives for one image; bounded where the layer before the cut bounds it.
    """

    head: nn.Module
    tail: nn.Module
    cut: str
    input: TensorSpec
    smashed: TensorSpec


def split(model: nn.Module, cut: str, input: TensorSpec) -> SplitModel:
    """Cut any torch.fx-traceable model in two.

    The halves share the parameters of the model, under the same names: training one trains the model. All
    three are in eval mode afterwards.

    Args:
        model: One image batch in, one tensor out.
        cut: Name or alias of a cut.
        input: One image.

    Raises:
        SplitError: The model has no such cut, or cannot be traced.
    """
    traced = trace(model)
    nodes = dict(cut_nodes(traced, input))
    found = find_cut(nodes, cut)
    return split_at(traced, found, nodes[found], input)


def split_at(model: fx.GraphModule, cut: Cut, node: fx.Node, input: TensorSpec) -> SplitModel:
    """`split` for a traced model of which `cut_nodes` has told the cut and its node."""
    image, logits = ends(model.graph)
    head = _part(model, image, node, "image", "Head")
    tail = _part(model, node, logits, "smashed", "Tail")
    return SplitModel(head, tail, cut.name, input, cut.smashed)


def _part(model: fx.GraphModule, start: fx.Node, end: fx.Node, argument: str, title: str) -> fx.GraphModule:
    """What leads from `start` to `end`, as a model of its own."""
    graph = fx.Graph()
    copies = {start: graph.placeholder(argument)}
    for node in between(start, end):
        copies[node] = graph.node_copy(node, copies.__getitem__)
        # As in `trace`: a functional call must not write into the smashed data either.
        if node.kwargs.get("inplace"):
            copies[node].kwargs = {**copies[node].kwargs, "inplace": False}
    graph.output(copies[end])
    # The containers that GraphModule makes up would stay in training mode, and an exporter that saves and
    # restores the mode of the whole would then put batch normalization in training mode too.
    return fx.GraphModule(model, graph, class_name=title).eval()
