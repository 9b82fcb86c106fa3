"""Where a model can be cut in two, and what each cut costs.

A cut is a single tensor that everything after it depends on and that depends on everything before it: an
articulation point of the model's graph. Residual sums are cuts, the branches between them are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cutlayer.errors import SplitError
from cutlayer.models.cut import Cut
from cutlayer.models.graph import between, bottlenecks, ends, module_names, nothing, reason, trace
from cutlayer.models.ranges import output_ranges
from cutlayer.spec import TensorSpec


def cuts(model: nn.Module, input: TensorSpec) -> list[Cut]:
    """Find every cut of the model between its input and its output, and put the model in eval mode.

    Raises:
        SplitError: The model cannot be traced, or it cannot take such an input.
    """
    return [cut for cut, _ in cut_nodes(trace(model, input), input)]


def cut_nodes(model: fx.GraphModule, input: TensorSpec) -> list[tuple[Cut, fx.Node]]:
    """Find the cuts of a traced model, each with its node."""
    image, logits = ends(model.graph)
    measured = _measure(model, input)
    names = module_names(model.graph)
    ranges = output_ranges(model, (input.low, input.high))
    nodes: list[tuple[Cut, fx.Node]] = []
    parameters: dict[int, int] = {}
    macs, last = 0, image
    for node in bottlenecks(image, logits):
        for part in between(last, node):
            parameters |= {id(p): p.numel() for p in _parameters(model, part)}
            macs += measured[part][1]
        last = node
        value, _ = measured[node]
        if value is None or not value.is_floating_point() or value.dim() < 2 or len(value) != _BATCH:
            continue
        name, *aliases = [*names[node], node.name]
        dtype = str(value.dtype).removeprefix("torch.")
        smashed = TensorSpec(tuple(value.shape[1:]), dtype, *ranges[node])
        nodes.append((Cut(name, tuple(a for a in aliases if a != name), smashed, sum(parameters.values()), macs), node))
    return nodes


_BATCH = 13
"""A batch size that differs from any size in a model, so that a first axis of this length is the batch."""


class _Meter(fx.Interpreter):
    """Runs the graph without data; `measured` has each node's output, if a tensor, and its MACs for one sample."""

    def __init__(self, model: fx.GraphModule, counter: FlopCounterMode) -> None:
        super().__init__(model, garbage_collect_values=False)
        self.counter = counter
        self.measured: dict[fx.Node, tuple[Tensor | None, int]] = {}

    def run_node(self, n: fx.Node) -> object:
        before = self.counter.get_total_flops()
        value = super().run_node(n)
        # A multiply-accumulate counts as two operations.
        macs = (self.counter.get_total_flops() - before) // (2 * _BATCH)
        self.measured[n] = (value if isinstance(value, Tensor) else None, macs)
        return value


def _measure(model: fx.GraphModule, input: TensorSpec) -> dict[fx.Node, tuple[Tensor | None, int]]:
    device = next(chain(model.parameters(), model.buffers(), [torch.empty(0)])).device
    try:
        # Fused attention would hide its matrix products from the counter.
        with (
            sdpa_kernel(SDPBackend.MATH),
            FakeTensorMode(allow_non_fake_inputs=True),
            FlopCounterMode(display=False) as counter,
        ):
            meter = _Meter(model, counter)
            meter.run(nothing(input, _BATCH).to(device))
    except Exception as error:  # the model's own code runs here, and may raise anything
        raise SplitError(f"The model cannot take an input of {input}: {reason(error)}") from error
    return meter.measured


def _parameters(model: fx.GraphModule, node: fx.Node) -> Iterator[nn.Parameter]:
    if node.op == "call_module":
        yield from model.get_submodule(str(node.target)).parameters()
    elif node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        value = getattr(model.get_submodule(owner), name)
        if isinstance(value, nn.Parameter):
            yield value
