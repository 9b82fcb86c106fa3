"""A model whose code torch.fx cannot follow, as a torch.fx graph all the same, by way of torch.export.

torch.export runs the model's code on one example, so decisions by shapes are taken as for that example, and checks of
shapes pass. It leaves a graph of elementary operations. Those of each standard layer (convolution, normalization,
dropout, ...) are folded back into a call of the layer itself: it keeps its name and its weights, follows `train` and
`eval`, and can be pruned, hooked and told its range like a layer of any other model.
"""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from cutlayer.spec import TensorSpec
from cutlayer.tensors import random

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_SIZE = torch.ops.aten.sym_size.int
_VIEWS = (torch.ops.aten.view.default, torch.ops.aten.reshape.default)


def exported(model: nn.Module, input: TensorSpec) -> fx.GraphModule:
    """The graph of a model in eval mode; it shares the parameters of the model, under their names.

    Raises:
        Exception: torch.export cannot follow the model's code, or what the graph computes differs from the model.
    """
    example = torch.from_numpy(random(input, 2, np.random.default_rng(0)))
    with _quiet():
        program = torch.export.export(
            model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
        )
        flat = program.module(check_guards=False)
    assert isinstance(flat, fx.GraphModule)
    # A graph without a module, for it will call modules that only the model has.
    graph = fx.Graph()
    results = graph.graph_copy(flat.graph, {})
    graph.output(results[0] if isinstance(results, tuple) and len(results) == 1 else results)
    for change in (_out_of_place, _own_batch_sizes):
        change(graph)
    _fold(graph, model)
    parts: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            parts[str(node.target)] = _found(model, str(node.target), _found(flat, str(node.target), None))
    traced = fx.GraphModule(parts, graph, class_name=type(model).__name__).eval()
    traced.graph.eliminate_dead_code()
    traced.recompile()
    with torch.no_grad():
        expected, computed = model(example), traced(example)
    # The function that cuts a model refuses one with several outputs.
    if isinstance(expected, Tensor) and not torch.allclose(expected, computed, rtol=1e-4, atol=1e-5):
        raise RuntimeError("the graph computes something else than the model")
    return traced


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch warns of and prints about what it has not understood; the error says it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _out_of_place(graph: fx.Graph) -> None:
    """Let no operation work in place: the smashed data belongs to the caller."""
    for node in list(graph.nodes):
        name = getattr(node.target, "__name__", "")
        base, _, overload = name.partition(".")
        if node.op != "call_function" or not base.endswith("_") or base.startswith("_") or not node.all_input_nodes:
            continue
        packet = getattr(torch.ops.aten, base.removesuffix("_"), None)
        changed = node.args[0]
        # What writes to a view of another tensor, such as a part of a mask, has to stay.
        if packet is None or overload not in packet.overloads() or _is_view(changed):
            continue
        place = {other: i for i, other in enumerate(graph.nodes)}
        # A node that reads the changed tensor later reads the result.
        changed.replace_all_uses_with(node, delete_user_cb=lambda user, n=node, at=place: at[user] > at[n])
        node.target = getattr(packet, overload)


def _is_view(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(result.alias_info is not None for result in schema.returns)


def _own_batch_sizes(graph: fx.Graph) -> None:
    """Let operations take the size of the batch from their own input, so that it is no path around every cut."""
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        sizes = [other for other in node.all_input_nodes if _is_size(other)]
        if node.target in _VIEWS and len(sizes) == 1:
            shape = list(node.args[1])
            if -1 not in shape and shape.count(sizes[0]) == 1:
                node.args = (node.args[0], [-1 if length is sizes[0] else length for length in shape])
                continue
        for size in sizes:
            like = next((t for t in node.all_input_nodes if _shape(t)[:1] == (size.meta.get("val"),)), None)
            if like is not None and size.target is _SIZE and size.args[0] is not like:
                with graph.inserting_before(node):
                    own = graph.call_function(_SIZE, (like, 0))
                own.meta = dict(size.meta)
                node.replace_input_with(size, own)


def _is_size(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt)


def _shape(node: fx.Node) -> tuple[Any, ...]:
    return tuple(getattr(node.meta.get("val"), "shape", ()))


def _fold(graph: fx.Graph, model: nn.Module) -> None:
    """Replace the operations of each call of a standard layer by the call."""
    calls: dict[str, list[fx.Node]] = defaultdict(list)
    paths: dict[str, str] = {}
    for node in graph.nodes:
        for call, (path, _) in node.meta.get("nn_module_stack", {}).items():
            if path and _is_layer(_found(model, path, None)):
                calls[call].append(node)
                paths[call] = path
                break
    for call, nodes in calls.items():
        inside = set(nodes)
        given = {source for node in nodes for source in node.all_input_nodes} - inside
        given = {source for source in given if source.op != "get_attr" and not _is_size(source)}
        results = [node for node in nodes if any(user not in inside for user in node.users)]
        if len(given) != 1 or len(results) != 1:
            continue
        (source,), (result,) = given, results
        with graph.inserting_after(result):
            layer = graph.call_module(paths[call], (source,))
        layer.meta = dict(result.meta)
        result.replace_all_uses_with(layer)
        for node in reversed(nodes):
            graph.erase_node(node)


def _is_layer(module: object) -> bool:
    """Whether a module is a standard layer that takes one tensor."""
    if not isinstance(module, nn.Module) or isinstance(module, (*_CONTAINERS, nn.RNNBase)):
        return False
    parameters = list(inspect.signature(type(module).forward).parameters.values())[1:]
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return type(module).__module__.startswith("torch.nn.modules.") and len(needed) == 1


def _found(root: nn.Module, path: str, default: Any) -> Any:
    try:
        return attrgetter(path)(root)
    except AttributeError:
        return default
