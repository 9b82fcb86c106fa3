"""Graphs at random: cuts are the articulation points, found here another way, and each gives what the whole gives."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutlayer.onnx import graph as onnx_graph
from cutlayer.onnx.graph import checked, survey
from tests.onnx.onnx_models import FOUR, assert_halves_are_the_whole, weights, write

ONE, TWO = ("Relu", "Neg", "Sigmoid", "MatMul", "Gemm"), ("Add", "Mul", "Max")


@st.composite
def graphs(draw):
    """Nodes as ``(operator, inputs, outputs)``; any tensor may be used again, also much later."""
    nodes, tensors = [], ["image"]
    for i in range(draw(st.integers(1, 12))):
        # Mostly the last one, or there would be hardly any seam.
        of = st.one_of(st.just(tensors[-1]), st.just(tensors[-1]), st.sampled_from(tensors))
        kind = draw(st.sampled_from(["one", "one", "two", "split"]))
        if kind == "split":
            nodes.append(("Split", [draw(of)], [f"a{i}", f"b{i}"]))
            nodes.append(("Concat", [f"b{i}", f"a{i}"], [f"t{i}"]))
        elif kind == "two":
            nodes.append((draw(st.sampled_from(TWO)), [draw(of), draw(of)], [f"t{i}"]))
        else:
            op = draw(st.sampled_from(ONE))
            more = {"MatMul": ["w"], "Gemm": ["w", "b"]}.get(op, [])
            nodes.append((op, [draw(of), *more], [f"t{i}"]))
        tensors.append(f"t{i}")
    return [*nodes, ("Identity", [tensors[-1]], ["logits"])]


def articulation_points(nodes):
    """Tensors without which nothing leads from the input to the output."""

    def reached(without):
        there = {"image"}
        for _, taken, gives in nodes:
            if there & set(taken):
                there |= set(gives) - {without}
        return "logits" in there

    tensors = {name for _, _, gives in nodes for name in gives} - {"logits"}
    return {name for name in tensors if not reached(name)}


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs())
def test_cuts_of_any_graph(tmp_path, nodes):
    attributes = {"Split": {"axis": 1, "num_outputs": 2}, "Concat": {"axis": 1}}
    path = write(
        tmp_path / "m.onnx",
        [(f"{' '.join(gives)} = {op} {' '.join(taken)}", attributes.get(op, {})) for op, taken, gives in nodes],
        [weights("w", 4, 4), weights("b", 4)], opset=18, **FOUR,
    )  # fmt: skip
    surveyed = checked(survey(path))
    assert {cut.name for cut in surveyed.cuts} == articulation_points(nodes)
    x = np.random.default_rng(0).random((3, 4), np.float32)
    for cut in surveyed.cuts[:3]:
        onnx_graph.write(surveyed, cut.name, tmp_path / "split")
        assert_halves_are_the_whole(path, tmp_path / "split", x)
