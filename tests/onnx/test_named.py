"""Files of several inputs and outputs: each goes where it is needed, and all outputs come back by name."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cutlayer.attacks.view import Access
from cutlayer.data.splits import Dataset
from cutlayer.errors import SplitError
from cutlayer.models.manifest import Manifest
from cutlayer.onnx.given import Given, given
from cutlayer.onnx.graph import checked, survey
from cutlayer.onnx.session import runtime
from cutlayer.privacy.view import view_of
from cutlayer.split_folder import only_smashed, open_split
from cutlayer.tensors import chosen, join, parts, random_batch
from tests.onnx.onnx_models import FOUR, node_of, split_onnx, weights, write

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def model(path, nodes, inputs, outputs, initializers=(), opset=17):
    """Save a model of several inputs and outputs: name to ``(type, shape)``."""
    nodes = [node_of(*node) if isinstance(node, tuple) else node_of(node) for node in nodes]
    ends = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in values.items()]
        for values in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "model", *ends, list(initializers))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
    return path


def outputs_of(path, inputs):
    """What ONNX Runtime gives for whole inputs, by name."""
    session = runtime().InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def constant(name, value, kind=np.float32):
    return numpy_helper.from_array(np.array(value, kind), name)


def two_answers(path):
    """Scores, a box, and the class as int64."""
    nodes = [
        "a = MatMul image w", "r = Relu a", "scores = MatMul r v", "box = MatMul r u",
        ("label = ArgMax scores", {"axis": 1, "keepdims": 0}),
    ]  # fmt: skip
    outputs = {"scores": (FLOAT, ["N", 3]), "box": (FLOAT, ["N", 2]), "label": (INT64, ["N"])}
    held = [weights("w", 4, 8), weights("v", 8, 3), weights("u", 8, 2)]
    return model(path, nodes, {"image": (FLOAT, ["N", 4])}, outputs, held)


def image_and_more(path):
    """The head needs the image and a gain; the tail a vector of its own; both may need the mask."""
    nodes = [
        "bright = Mul image gain", "a = MatMul bright w", "r = Relu a", ("both = Concat r meta", {"axis": 1}),
        "out = MatMul both v",
    ]  # fmt: skip
    inputs = {"meta": (FLOAT, ["N", 2]), "image": (FLOAT, ["N", 4]), "gain": (FLOAT, ["N", 1])}
    return model(path, nodes, inputs, {"out": (FLOAT, ["N", 3])}, [weights("w", 4, 6), weights("v", 8, 3)])


def recurrent(path):
    """A state in the head, another in the tail, and one answer; the batch is the second axis of the states."""
    nodes = [
        "x1 = Unsqueeze image zero", "s = Add x1 h", "hn = Tanh s", "seam = Neg s", "m = MatMul seam w",
        "t = Add m c", "cn = Sigmoid t", "y0 = Exp t", "y = Squeeze y0 zero",
    ]  # fmt: skip
    inputs = {"image": (FLOAT, [1, 4]), "h": (FLOAT, [2, 1, 4]), "c": (FLOAT, [2, 1, 3])}
    outputs = {"y": (FLOAT, [2, 1, 3]), "hn": (FLOAT, [2, 1, 4]), "cn": (FLOAT, [2, 1, 3])}
    nodes[-1] = "y = Identity y0"
    return model(path, nodes, inputs, outputs, [weights("w", 4, 3), constant("zero", [0], np.int64)])


def detector(path):
    """Write a model that gives as many rows as there are values above a half, and a total."""
    nodes = [
        "r = Relu image", "n = Neg r", "row = Squeeze n zero", "bright = Less row half",
        ("found = Compress row bright", {"axis": 0}), ("total = ReduceSum n", {"keepdims": 0}),
    ]  # fmt: skip
    return model(
        path, nodes, {"image": (FLOAT, [1, 16])},
        {"found": (FLOAT, ["rows"]), "total": (FLOAT, [])}, [constant("zero", [0], np.int64), constant("half", -0.5)],
    )  # fmt: skip


STATES = Given(state={"h": "hn", "c": "cn"})


def test_all_answers_come_back_by_name_and_type(tmp_path):
    path = two_answers(tmp_path / "m.onnx")
    surveyed = checked(survey(path))
    assert [cut.name for cut in surveyed.cuts] == ["a", "r"]
    assert surveyed.refused["scores"] == "box, another output, would have to be computed on the device as well"
    manifest = split_onnx(path, "r", tmp_path / "split")
    assert list(manifest.ends.answers) == ["scores", "box", "label"]
    x = np.random.default_rng(0).random((5, 4), np.float32)
    answer = open_split(tmp_path / "split").model()(x)
    for name, wanted in outputs_of(path, {"image": x}).items():
        assert answer[name].dtype == wanted.dtype
        np.testing.assert_allclose(answer[name], wanted, rtol=1e-5)


def test_an_answer_of_int64_does_not_cross_the_cut(tmp_path):
    nodes = ["a = MatMul image w", "r = Relu a", ("label = ArgMax r", {"axis": 1, "keepdims": 0})]
    path = model(
        tmp_path / "m.onnx", nodes, {"image": (FLOAT, ["N", 4])}, {"label": (INT64, ["N"])}, [weights("w", 4, 9)]
    )
    split_onnx(path, "a", tmp_path / "split")
    x = np.random.default_rng(0).random((7, 4), np.float32)
    split = open_split(tmp_path / "split")
    answer = split.model()(x)
    assert answer["label"].dtype == np.int64
    np.testing.assert_array_equal(answer["label"], outputs_of(path, {"image": x})["label"])
    np.testing.assert_array_equal(split.answers(x), answer["label"], "the number is the class")


def test_inputs_go_where_they_are_needed(tmp_path):
    path = image_and_more(tmp_path / "m.onnx")
    cuts = {cut.name: cut for cut in checked(survey(path)).cuts}
    assert list(cuts) == ["bright", "a", "r", "both"]
    manifest = split_onnx(path, "r", tmp_path / "split")
    assert (list(manifest.ends.head), list(manifest.ends.tail)) == (["image", "gain"], ["meta"])
    assert list(manifest.data_inputs) == ["image", "gain", "meta"]
    split, batch = open_split(tmp_path / "split"), random_batch(manifest.data_inputs, 3)
    wanted = outputs_of(path, parts(batch, ""))["out"]
    np.testing.assert_allclose(split.model()(batch)["out"], wanted, rtol=1e-5)
    # Behind the place where they meet, nothing is sent along.
    assert split_onnx(path, "both", tmp_path / "late").beside == {}


def test_an_input_of_both_halves_is_refused_unless_it_is_public(tmp_path):
    nodes = ["m = Cast mask", "a = Mul image m", "r = Relu a", "b = MatMul r w", "out = Mul b m"]
    nodes[0] = ("m = Cast mask", {"to": FLOAT})
    inputs = {"image": (FLOAT, ["N", 4]), "mask": (BOOL, ["N", 1])}
    path = model(tmp_path / "m.onnx", nodes, inputs, {"out": (FLOAT, ["N", 4])}, [weights("w", 4, 4)])
    surveyed = survey(path)
    assert surveyed.cuts == []
    assert surveyed.refused["r"] == "m would have to be sent as well"
    assert surveyed.refused["m"] == "image would be sent to the server as it is"
    manifest = split_onnx(path, "r", tmp_path / "split", Given(public=["mask"]))
    assert (list(manifest.ends.head), list(manifest.ends.tail)) == (["image", "mask"], ["mask"])
    batch = random_batch(manifest.data_inputs, 4)
    assert batch["mask"].dtype == bool
    wanted = outputs_of(path, parts(batch, ""))["out"]
    np.testing.assert_allclose(open_split(tmp_path / "split").model()(batch)["out"], wanted, rtol=1e-5)


def test_an_output_on_the_way_stays_on_the_device(tmp_path):
    nodes = ["r = Relu image", "s = Neg r", "logits = Exp s"]
    outputs = {"logits": (FLOAT, ["N", 4]), "s": (FLOAT, ["N", 4])}
    path = model(tmp_path / "m.onnx", nodes, {"image": (FLOAT, ["N", 4])}, outputs)
    assert [cut.name for cut in checked(survey(path)).cuts] == ["r", "s"]
    manifest = split_onnx(path, "s", tmp_path / "split")
    assert (list(manifest.ends.kept), list(manifest.ends.answers)) == (["s"], ["logits"])
    x = np.random.default_rng(0).random((2, 4), np.float32)
    answer = open_split(tmp_path / "split").model()(x)
    for name, wanted in outputs_of(path, {"image": x}).items():
        np.testing.assert_allclose(answer[name], wanted, rtol=1e-6)


def test_state_stays_on_the_half_that_computes_it(tmp_path):
    path = recurrent(tmp_path / "m.onnx")
    cuts = {cut.name: cut for cut in checked(survey(path, STATES)).cuts}
    assert "seam" in cuts
    manifest = split_onnx(path, "seam", tmp_path / "split", STATES)
    ends = manifest.ends
    assert (list(ends.head), list(ends.tail)) == (["image", "h"], ["c"])
    assert (list(ends.kept), list(ends.answers)) == (["hn"], ["y", "cn"])
    assert list(manifest.data_inputs) == ["image"]
    assert manifest.smashed.shape == (2, 1, 4)


def test_state_that_would_cross_the_cut_is_refused(tmp_path):
    """The tail takes what the head gave in the request before."""
    nodes = ["r = Relu image", "hn = Exp r", "s = Neg r", "t = Add s h", "y = Exp t"]
    inputs = {"image": (FLOAT, ["N", 4]), "h": (FLOAT, ["N", 4])}
    outputs = {"y": (FLOAT, ["N", 4]), "hn": (FLOAT, ["N", 4])}
    path = model(tmp_path / "m.onnx", nodes, inputs, outputs)
    surveyed = survey(path, Given(state={"h": "hn"}))
    assert surveyed.refused["s"] == "h, which is state of the tail, would have to come from the head, undefended"


def test_a_constant_input_decides_a_branch(tmp_path):
    """A detector of voices has its whole network in the branches of its sampling rate."""
    nodes = ["fast = Greater rate threshold", ("y = If fast", branches())]
    inputs = {"image": (FLOAT, ["N", 4]), "rate": (INT64, [])}
    held = [weights("w", 4, 6), weights("v", 6, 2), constant("threshold", 8000, np.int64)]
    path = model(tmp_path / "m.onnx", nodes, inputs, {"y": (FLOAT, ["N", 2])}, held)
    assert survey(path).cuts == []
    for rate, operator in ((16000, "Relu"), (8000, "Neg")):
        surveyed = checked(survey(path, given(constant=[f"rate={rate}"])))
        assert [cut.op for cut in surveyed.cuts] == ["MatMul", operator]
        split_onnx(path, surveyed.cuts[-1].name, tmp_path / "split", Given(constants={"rate": rate}))
        x = np.random.default_rng(0).random((3, 4), np.float32)
        wanted = outputs_of(path, {"image": x, "rate": np.array(rate)})["y"]
        np.testing.assert_allclose(open_split(tmp_path / "split").model()(x), wanted, rtol=1e-5)


def branches():
    """Two branches with the same names inside, each with a network of its own."""
    value = [helper.make_tensor_value_info("out", FLOAT, None)]
    return {
        f"{branch}_branch": helper.make_graph(
            [
                helper.make_node("MatMul", ["image", "w"], ["a"], name="a"),
                helper.make_node(operator, ["a"], ["b"], name="b"),
                helper.make_node("MatMul", ["b", "v"], ["out"], name="out"),
            ],
            branch, [], value,
        )
        for branch, operator in (("then", "Relu"), ("else", "Neg"))
    }  # fmt: skip


def test_words_are_whole_numbers_of_a_table(tmp_path):
    nodes = ["e = Gather table words", "r = Relu e", ("p = ReduceMean r", {"axes": [1], "keepdims": 0}), "y = Neg p"]
    path = model(
        tmp_path / "m.onnx", nodes, {"words": (INT64, ["N", "length"])}, {"y": (FLOAT, ["N", 3])},
        [weights("table", 11, 3)],
    )  # fmt: skip
    surveyed = checked(survey(path, given(["words=1x6"])))
    assert (surveyed.file.input.shape, surveyed.file.input.dtype) == ((6,), "int64")
    assert (surveyed.file.input.low, surveyed.file.input.high) == (0, 10)
    split_onnx(path, "p", tmp_path / "split", given(["words=6"]))
    split = open_split(tmp_path / "split")
    words = random_batch(split.manifest.data_inputs, 5)
    assert words.dtype == np.int64
    np.testing.assert_allclose(split.model()(words)["y"], outputs_of(path, {"words": words})["y"], rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        (["N", 3, "height", "width"], (3, 224, 224)),
        (["N", "channels", "height", "width"], (3, 224, 224)),
        (["N", "height", "width", 3], (224, 224, 3)),
        ([4, 3, 8, 8], (4, 3, 8, 8)),
        (["length"], (128,)),
    ],
)
def test_open_sizes_are_tried(tmp_path, shape, found):
    nodes = ["r = Relu image", "logits = Neg r"]
    path = write(tmp_path / "m.onnx", nodes, given=("image", shape), wanted=("logits", shape))
    surveyed = checked(survey(path))
    assert surveyed.file.input.shape == found
    assert surveyed.file.guessed == any(isinstance(axis, str) and axis != "N" for axis in shape)
    assert [cut.name for cut in surveyed.cuts][-1] == "r"
    split_onnx(path, "r", tmp_path / "split")
    x = np.random.default_rng(0).random((1, *found), np.float32)
    whole = x if len(found) < len(shape) else x[0]
    wanted = outputs_of(path, {"image": whole})["logits"]
    np.testing.assert_array_equal(open_split(tmp_path / "split").model()(x).reshape(-1), wanted.reshape(-1))


def test_a_size_that_the_graph_needs_is_found(tmp_path):
    nodes = ["f = Flatten image", "r = Relu f", "logits = MatMul r w"]
    path = write(tmp_path / "m.onnx", nodes, [weights("w", 192, 10)], given=("image", ["N", 3, "h", "h"]))
    assert survey(path).file.input.shape == (3, 8, 8)


def test_no_common_size_fits(tmp_path):
    nodes = ["f = Flatten image", "r = Relu f", "logits = MatMul r w"]
    path = write(tmp_path / "m.onnx", nodes, [weights("w", 7, 10)], given=("image", ["N", 3, "h", "h"]))
    with pytest.raises(SplitError, match="it takes image Nx3xhxh and ran with no common size; state one, as in"):
        survey(path)


def test_an_answer_whose_length_depends_on_the_image(tmp_path):
    path = detector(tmp_path / "m.onnx")
    manifest = split_onnx(path, "r", tmp_path / "split")
    assert (manifest.ends.answers["found"].shape, manifest.ends.answers["total"].shape) == ((-1,), ())
    assert manifest.ends.alone
    model_ = open_split(tmp_path / "split").model()
    for seed in range(4):
        x = np.random.default_rng(seed).random((1, 16), np.float32)
        wanted, answer = outputs_of(path, {"image": x}), model_(x)
        np.testing.assert_allclose(answer["found"][0], wanted["found"])
        np.testing.assert_allclose(answer["total"][0], wanted["total"], rtol=1e-5)


def test_the_manifest_of_a_plain_split_is_as_it_always_was(tmp_path):
    write(tmp_path / "m.onnx", ["r = Relu image", "logits = Neg r"], **FOUR)
    manifest = split_onnx(tmp_path / "m.onnx", "r", tmp_path / "split")
    assert manifest.ends is None
    assert "ends" not in (tmp_path / "split/split.json").read_text()


def test_a_manifest_with_ends_is_read_as_it_was_written(tmp_path):
    manifest = split_onnx(recurrent(tmp_path / "m.onnx"), "seam", tmp_path / "split", STATES)
    assert Manifest.load(tmp_path / "split") == manifest
    text = (tmp_path / "split/split.json").read_text()
    (tmp_path / "split/split.json").write_text(text.replace('"format": 2', '"format": 1'))
    with pytest.raises(SplitError, match="another format"):
        Manifest.load(tmp_path / "split")


def test_the_class_that_an_answer_means():
    scores, label = np.array([[1.0, 3.0, 2.0]], np.float32), np.array([7])
    assert chosen(scores) == [1]
    assert chosen(join({"label": label, "scores": scores})) == [7]
    assert chosen(join({"none": np.empty((1, 0), np.float32)})) == [-1]


def test_a_shape_that_is_read_first_and_used_last_is_constant_here(tmp_path):
    """A segmenter enlarges its answer to the size of the image."""
    nodes = [
        "size = Shape image", "hw = Slice size two four", ("c = Conv image k", {"strides": [2, 2]}), "r = Relu c",
        "front = Slice size zero two", ("all = Concat front hw", {"axis": 0}),
        helper.make_node("Resize", ["r", "", "", "all"], ["logits"], mode="nearest"),
    ]  # fmt: skip
    constants = [constant(name, [value], np.int64) for name, value in (("zero", 0), ("two", 2), ("four", 4))]
    path = model(
        tmp_path / "m.onnx", nodes, {"image": (FLOAT, ["N", 3, "h", "w"])}, {"logits": (FLOAT, ["N", 3, "h", "w"])},
        [weights("k", 3, 3, 2, 2), *constants],
    )  # fmt: skip
    surveyed = checked(survey(path, Given((3, 8, 10))))
    assert [cut.name for cut in surveyed.cuts] == ["c", "r"]
    split_onnx(path, "r", tmp_path / "split", Given((3, 8, 10)))
    x = np.random.default_rng(0).random((1, 3, 8, 10), np.float32)
    wanted = outputs_of(path, {"image": x})["logits"]
    np.testing.assert_allclose(open_split(tmp_path / "split").model()(x), wanted.reshape(1, -1), rtol=1e-5)


def test_infinity_in_some_places_is_compared(tmp_path):
    """A model that masks words gives infinity: the other numbers are compared, and the places of infinity."""
    nodes = ["r = Relu image", "s = Neg r", "logits = Add s mask"]
    path = write(tmp_path / "m.onnx", nodes, [constant("mask", [0, 0, 0, -np.inf])], **FOUR)
    assert [cut.name for cut in checked(survey(path)).cuts] == ["r", "s"]


def test_a_file_that_was_optimized_for_one_processor_is_refused(tmp_path):
    nodes = [helper.make_node("ReorderInput", ["image"], ["r"], domain="com.microsoft.nchwc"), "logits = Neg r"]
    path = model(tmp_path / "m.onnx", nodes, {"image": (FLOAT, [1, 16, 8, 8])}, {"logits": (FLOAT, [1, 16, 8, 8])})
    with pytest.raises(SplitError, match="optimized by ONNX Runtime for one kind of processor"):
        survey(path)


def test_a_type_that_the_file_states_wrongly_for_its_output_does_not_matter(tmp_path):
    path = write(tmp_path / "m.onnx", ["r = Relu image", "s = Neg r", "logits = Exp s"], **FOUR)
    proto = onnx.load(path)
    proto.graph.value_info.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT16, ["N", 4]))
    onnx.save(proto, path)
    assert [cut.name for cut in checked(survey(path)).cuts] == ["r", "s"]


def test_attacks_see_the_smashed_data_of_a_split_with_state_and_refuse_several_inputs(tmp_path):
    recurrent_split = split_onnx(recurrent(tmp_path / "m.onnx"), "seam", tmp_path / "state", STATES)
    split = open_split(tmp_path / "state")
    images = np.random.default_rng(0).random((3, 4), np.float32)
    data = Dataset(images, np.zeros(3, np.int64))
    seen = view_of(split, Access.BLACK_BOX, data).query(torch.from_numpy(images)).numpy()
    assert seen.shape == (3, *recurrent_split.smashed.shape)
    first = only_smashed(split.head())(images)
    np.testing.assert_array_equal(seen, first, "each as in a first request")
    split_onnx(image_and_more(tmp_path / "n.onnx"), "r", tmp_path / "several")
    with pytest.raises(SplitError, match="Attacks rebuild one input from smashed data"):
        view_of(open_split(tmp_path / "several"), Access.BLACK_BOX, data)
