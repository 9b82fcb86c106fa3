"""A model as a torch.fx graph, on which `cuts` and `split` work."""

import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from cutlayer.errors import SplitError
from cutlayer.spec import TensorSpec


def trace(model: nn.Module, input: TensorSpec | None = None) -> fx.GraphModule:
    """Trace the model in eval mode; the graph uses the model's own modules.

    torch.fx follows the model's code; where it cannot, torch.export runs it on an example of the input, if one is
    given: see `cutlayer.models.exported`.

    No module works in place afterwards: the smashed data belongs to the caller, and a tail that starts with an in-place
    ReLU would change it. Decisions of the model's own code that depend on the mode, such as torchvision's stochastic
    depth, are fixed as in eval mode; standard layers such as dropout still follow `train` and `eval`.

    Raises:
        SplitError: Neither can follow the model's code; the message names the line.
    """
    model.eval()
    for module in model.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]
    if isinstance(model, fx.GraphModule):
        return model
    refusal: Exception | None = None
    try:
        traced = fx.symbolic_trace(model)
        if len(_inputs(traced.graph)) == 1 or input is None:
            return traced
    except Exception as error:  # the model's own code runs here, and may raise anything
        refusal = error
    if input is None:
        raise SplitError(f"torch.fx cannot trace {type(model).__name__}: {reason(refusal)}") from refusal
    from cutlayer.models.exported import exported

    try:
        return exported(model, input)
    except Exception as error:
        raise SplitError(f"{type(model).__name__} cannot be traced: {_blamed(error)}") from error


def reason(error: BaseException | None) -> str:
    """The first line of a library's error message, to end a sentence of ours with."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _blamed(error: BaseException) -> str:
    """The line of the model's own code at which the tracing ended, and why."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not {"torch", "cutlayer"} & {*Path(frame.filename).parts}]
    lines = [frame for frame in own if Path(frame.filename).is_file()]
    where = f"line {lines[-1].lineno} of {lines[-1].filename} (`{lines[-1].line}`): " if lines else ""
    if "DataDependent" in type(error).__name__ or "data-dependent" in str(error):
        return (
            f"{where}it decides by the values of a tensor, so that there is no one graph to cut. Compute both ways and "
            "choose with torch.where, or name a function that returns the part of the model without this line."
        )
    return f"{where}{reason(error)}"


def nothing(spec: TensorSpec, n: int) -> Tensor:
    """So many samples that hold nothing, ``(n, *spec.shape)``, in their type and on torch's default device."""
    return torch.zeros(n, *spec.shape, dtype=getattr(torch, spec.dtype))


def ends(graph: fx.Graph) -> tuple[fx.Node, fx.Node]:
    """The input and the value that the model returns.

    Raises:
        SplitError: The model has several inputs or outputs.
    """
    inputs = _inputs(graph)
    result = graph.output_node().args[0]
    if len(inputs) != 1 or not isinstance(result, fx.Node):
        raise SplitError("Only a model with one input and one output can be cut.")
    return inputs[0], result


def _inputs(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "placeholder"]


def insert_after(model: fx.GraphModule, node: fx.Node, name: str, child: nn.Module) -> fx.Node:
    """Add a child that takes the output of a node and replaces it for everything that uses it."""
    model.add_submodule(name, child.eval())
    with model.graph.inserting_after(node):
        added = model.graph.call_module(name, (node,))
    node.replace_all_uses_with(added, delete_user_cb=lambda user: user is not added)
    model.recompile()
    return added


def between(start: fx.Node, end: fx.Node) -> list[fx.Node]:
    """The nodes that are needed to compute `end` from `start`, in graph order: without `start`, with parameters."""
    needed, waiting = {start, end}, [end]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in needed:
                needed.add(source)
                waiting.append(source)
    return [node for node in start.graph.nodes if node in needed and node is not start]


def bottlenecks(start: fx.Node, end: fx.Node) -> list[fx.Node]:
    """Every node that lies on all paths from `start` to `end`, both excluded, in graph order."""
    downstream = {start}
    path = [start]
    for node in between(start, end):
        if not downstream.isdisjoint(node.all_input_nodes):
            downstream.add(node)
            path.append(node)
    place = {node: i for i, node in enumerate(path)}
    nodes, reach = [], 0
    for i, node in enumerate(path):
        # Every node of the path leads from start to end, so an edge over a node is a path around it.
        if reach == i and node not in (start, end):
            nodes.append(node)
        reach = max([reach, *(place[user] for user in node.users if user in place)])
    return nodes


def module_names(graph: fx.Graph) -> dict[fx.Node, list[str]]:
    """The modules whose output each node is, innermost first, without those that the model calls twice."""
    stacks = {node: _modules(node) for node in graph.nodes}
    calls: dict[str, set[str]] = defaultdict(set)
    leaving: dict[str, list[fx.Node]] = defaultdict(list)
    for node, stack in stacks.items():
        for call, path in stack.items():
            calls[path].add(call)
            if any(call not in stacks[user] for user in node.users):
                leaving[call].append(node)
    return {
        node: [path for call, path in reversed(stack.items()) if calls[path] == {call} and leaving[call] == [node]]
        for node, stack in stacks.items()
    }


def _modules(node: fx.Node) -> dict[str, str]:
    """The calls that contain the node, outermost first, and the path of the module of each call."""
    stack = {call: path for call, (path, _) in node.meta.get("nn_module_stack", {}).items() if path}
    if node.op == "call_module" and str(node.target) not in stack.values():
        stack[str(node.target)] = str(node.target)
    return stack


@contextmanager
def layer_outputs(*modules: nn.Module) -> Iterator[list[tuple[nn.Conv2d | nn.Linear, Tensor]]]:
    """Collect the modules' convolutions and linear layers, each with its output, in the order in which they run."""
    collected: list[tuple[nn.Conv2d | nn.Linear, Tensor]] = []
    layers = [layer for module in modules for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(lambda this, _, output: collected.append((this, output))) for layer in layers]
    try:
        yield collected
    finally:
        for hook in hooks:
            hook.remove()
