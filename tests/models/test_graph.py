import pytest
import torch
from torch import nn

from cutlayer.errors import SplitError
from cutlayer.models.graph import bottlenecks, ends, trace


class Diamond(nn.Module):
    """One layer, then two branches, the shorter of which skips a node, then a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.first(x)
        return torch.tanh(self.left(x) + self.right(x))


def test_branches_are_no_bottlenecks():
    graph = trace(Diamond()).graph
    assert [str(node) for node in bottlenecks(*ends(graph))] == ["first", "add"]


def test_trace_leaves_nothing_in_training_mode_or_in_place():
    model = Diamond().train()
    traced = trace(model)
    assert not any(module.training for module in [*traced.modules(), *model.modules()])
    assert not model.right.inplace


class Deciding(nn.Module):
    """Code that torch can follow for given values only."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_code_that_depends_on_values_is_refused():
    with pytest.raises(SplitError, match="cannot trace Deciding"):
        trace(Deciding())


def test_several_inputs_are_refused():
    class Sum(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(SplitError, match="one input"):
        ends(trace(Sum()).graph)
