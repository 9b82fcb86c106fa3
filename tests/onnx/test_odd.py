"""Unusual ONNX files: cut into valid halves that agree, or refused with the reason."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutlayer.errors import SplitError
from cutlayer.onnx import graph as onnx_graph
from cutlayer.onnx.graph import checked, survey
from tests.onnx.onnx_models import FOUR, assert_halves_are_the_whole, branches, chain, weights, write


def constant(name, value, kind=np.float32):
    return numpy_helper.from_array(np.array(value, kind), name)


def cut_everywhere(path, folder):
    """Names of the cuts; each is written, valid, and gives what the whole gives."""
    surveyed = checked(survey(path))
    image = np.random.default_rng(1).random((1, *surveyed.file.input.shape), np.float32)
    for cut in surveyed.cuts:
        onnx_graph.write(surveyed, cut.name, folder)
        for x in (image, -np.ones_like(image)):
            assert_halves_are_the_whole(path, folder, x, optimized=False)
    return [cut.name for cut in surveyed.cuts]


@pytest.mark.parametrize("opset", [7, *range(11, 23)])
def test_any_opset(tmp_path, opset):
    assert cut_everywhere(chain(tmp_path / "m.onnx", opset=opset), tmp_path / "split") == [
        "c1", "r1", "sum", "r2", "pooled", "flat",
    ]  # fmt: skip


def test_initializers_that_are_inputs_as_well_and_nodes_without_names(tmp_path):
    model = onnx.load(chain(tmp_path / "m.onnx", opset=8, ir=3))
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, tmp_path / "m.onnx")
    assert len(cut_everywhere(tmp_path / "m.onnx", tmp_path / "split")) == 6


def test_nodes_in_no_order(tmp_path):
    """ONNX forbids that, but ONNX Runtime sorts them."""
    model = onnx.load(chain(tmp_path / "m.onnx"))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[i] for i in (5, 8, 0, 3, 7, 1, 6, 4, 2))
    onnx.save(model, tmp_path / "m.onnx")
    assert cut_everywhere(tmp_path / "m.onnx", tmp_path / "split") == ["c1", "r1", "sum", "r2", "pooled", "flat"]


def test_bodies_that_call_their_own_tensors_what_the_ends_are_called(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Add", ["image", "k"], ["smashed"]), helper.make_node("Identity", ["logits"], ["go_on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("logits", TensorProto.BOOL, []),
            helper.make_tensor_value_info("image", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("smashed", TensorProto.FLOAT, None),
        ],
    )
    path = write(
        tmp_path / "m.onnx",
        ["r = Relu in", ("x = Loop n go r", {"body": body}), "z = Neg x", "out = Abs z"],
        [constant("n", 3, np.int64), constant("go", True, np.bool_), constant("k", [1, 2, 3, 4])],
        given=("in", ["N", 4]), wanted=("out", ["N", 4]),
    )  # fmt: skip
    assert cut_everywhere(path, tmp_path / "split") == ["r", "z"]


def test_what_a_body_takes_from_outside_comes_along_or_keeps_the_graph_together(tmp_path):
    def model(takes):
        nodes = [
            "r = Relu image",
            "y = Neg r",
            ("total = ReduceSum y", {"keepdims": 0}),
            "negative = Less total zero",
            ("x = If negative", branches(f"{takes} w")),
            "z = Add x w",
            "logits = Neg z",
        ]
        initializers = [constant("zero", -1), constant("w", [1, 2, 3, 4])]
        return write(tmp_path / f"{takes}.onnx", nodes, initializers, **FOUR)

    assert cut_everywhere(model("y"), tmp_path / "split") == ["r", "y", "z"]
    assert cut_everywhere(model("image"), tmp_path / "split") == ["z"]


def test_control_flow_inside_a_local_function(tmp_path):
    condition = [
        helper.make_node("ReduceSum", ["a"], ["total"], keepdims=0),
        helper.make_node("Constant", [], ["zero"], value=constant("", 0)),
        helper.make_node("Less", ["total", "zero"], ["negative"]),
        helper.make_node("If", ["negative"], ["b"], **branches("a w")),
    ]
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("ours", 1)]
    inner = helper.make_function("ours", "Inner", ["a", "w"], ["b"], condition, opset)
    call = [helper.make_node("Inner", ["a", "w"], ["b"], domain="ours")]
    outer = helper.make_function("ours", "Outer", ["a", "w"], ["b"], call, opset)
    nodes = [
        "r = Relu image",
        helper.make_node("Outer", ["r", "w"], ["x"], domain="ours"),
        "z = Neg x",
        "logits = Abs z",
    ]
    path = write(tmp_path / "m.onnx", nodes, [weights("w", 4)], **FOUR, functions=[outer, inner])
    model = onnx.load(path)
    del model.opset_import[2]  # each function brought its own
    onnx.save(model, path)
    assert cut_everywhere(path, tmp_path / "split") == ["r", "z"]
    assert "Outer is control flow" in survey(path).refused["x"]


def test_a_shape_that_depends_on_the_image(tmp_path):
    nodes = [
        "r = Relu image",
        "row = Squeeze r zero",
        "bright = Greater row half",
        ("kept = Compress row bright", {"axis": 0}),
        "u = Unsqueeze kept zero",
        "v = Neg u",
        "logits = ReduceSum v one",
    ]
    constants = [constant("zero", [0], np.int64), constant("one", [1], np.int64), constant("half", 0.5)]
    path = write(tmp_path / "m.onnx", nodes, constants, given=("image", [1, 16]), wanted=("logits", [1, 1]))
    assert cut_everywhere(path, tmp_path / "split") == ["r", "row"]
    assert "depends on what is in the image" in survey(path).refused["v"]


def test_types_that_numpy_does_not_have(tmp_path):
    nodes = [
        "r = Relu image",
        ("half = Cast r", {"to": TensorProto.BFLOAT16}),
        ("back = Cast half", {"to": TensorProto.FLOAT}),
        "logits = Neg back",
    ]
    path = write(tmp_path / "m.onnx", nodes, **FOUR)
    surveyed = survey(path)
    assert [(cut.name, cut.dtype) for cut in checked(surveyed).cuts] == [
        ("r", "float32"), ("half", "bfloat16"), ("back", "float32"),
    ]  # fmt: skip


def test_weights_of_four_bits_round_elsewhere_once_optimized(tmp_path):
    """ONNX Runtime fuses dequantization and product where one product alone uses the weights, as in each half."""
    quarter = helper.make_tensor("w4", TensorProto.INT4, [4, 4], [(3 * i) % 8 for i in range(16)])
    nodes = ["r = Relu image", "w = DequantizeLinear w4 scale", "a = MatMul r w", "b = Neg a", "logits = MatMul b w"]
    path = write(tmp_path / "m.onnx", nodes, [quarter, constant("scale", 0.1)], **FOUR, opset=21, ir=10)
    assert cut_everywhere(path, tmp_path / "split") == ["r", "a", "b"]


def test_a_batch_that_ends_up_in_the_second_axis_is_not_opened(tmp_path):
    path = write(tmp_path / "m.onnx", ["r = Relu image", ("f = Flatten r", {"axis": 0}), "logits = Neg f"])
    assert survey(path).opened is None
    assert cut_everywhere(path, tmp_path / "split") == ["r", "f"]


def test_halves_that_would_be_no_valid_models_are_refused(tmp_path):
    """ONNX Runtime runs it without the opset of its operators, which the checker of ONNX requires."""
    path = write(tmp_path / "m.onnx", ["r = Relu image", "logits = Neg r"], **FOUR)
    model = onnx.load(path)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, path)
    assert "the head would be no valid model: " in checked(survey(path)).refused["r"]
    with pytest.raises(SplitError, match="no valid model"):
        onnx_graph.write(survey(path), "r", tmp_path / "split")


@pytest.mark.parametrize(
    ("nodes", "complaint"),
    [
        (["r = Relu image", "logits = Neg w"], "gives logits, which does not depend on image"),
        (["r = Relu image", ("logits = Gather r far", {"axis": 1})], r"on 1x4: .*; if it takes another shape"),
    ],
)
def test_what_cannot_be_cut_at_all(tmp_path, nodes, complaint):
    constants = [weights("w", 1, 4), constant("far", [9], np.int64)]
    path = write(tmp_path / "m.onnx", nodes, constants, given=FOUR["given"], wanted=("logits", None))
    with pytest.raises(SplitError, match=complaint) as raised:
        survey(path)
    assert "onnxruntime_src" not in str(raised.value)


def test_numbers_that_cannot_be_compared(tmp_path):
    path = write(tmp_path / "m.onnx", ["a = Neg image", "b = Log a", "logits = Abs b"], **FOUR)
    assert "gives mostly what is no number for random images" in checked(survey(path)).refused["a"]
