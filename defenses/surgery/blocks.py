"""A head as a chain of blocks, each with at least one convolution, for losses on its inner values."""

import itertools

from torch import fx, nn

from cutlayer.models.graph import between, bottlenecks, ends, trace


def blocks(head: nn.Module) -> fx.GraphModule:
    """The head with the outputs of all its blocks: a tuple of tensors whose last is the smashed data.

    A block ends where all that follows depends on one tensor: after a convolution with its normalization, activation
    and pooling, or after a residual sum. It shares the head's modules, so that training it trains the head.

    Raises:
        SplitError: torch.fx cannot trace the head.
    """
    traced = trace(head)
    image, smashed = ends(traced.graph)
    path = [image, *bottlenecks(image, smashed), smashed]
    block_ends: list[fx.Node] = []
    weighted = False
    for last, node in itertools.pairwise(path):
        called = [traced.get_submodule(str(part.target)) for part in between(last, node) if part.op == "call_module"]
        computes = any(isinstance(module, nn.Conv2d | nn.Linear) for module in called)
        if computes and weighted:
            block_ends.append(last)
        weighted = weighted or computes
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    graph.graph_copy(traced.graph, copies)
    graph.output(tuple(copies[node] for node in [*block_ends, smashed]))
    return fx.GraphModule(traced, graph, class_name="Blocks").eval()
