"""Cutting ONNX files that others wrote: both halves valid, and together the whole."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutlayer.commands.cut_table import table
from cutlayer.errors import ConfigError, SplitError
from cutlayer.onnx import graph as onnx_graph
from cutlayer.onnx import halves as onnx_halves
from cutlayer.onnx.given import Given
from cutlayer.onnx.graph import checked, survey
from cutlayer.onnx.halves import part
from cutlayer.onnx.session import runtime
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split
from tests.onnx.onnx_models import FOUR, assert_halves_are_the_whole, branches, chain, run, split_onnx, weights, write

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
"""The models that the ONNX project tests itself with, converted from Caffe years ago: opset 9, batches of one."""


def images(n, *shape):
    return np.random.default_rng(1).random((n, *shape), np.float32)


def one_by_one(path, x):
    return np.concatenate([run(path, x[i : i + 1]).reshape(1, -1) for i in range(len(x))])


def assert_parity(whole, folder, batch):
    assert_halves_are_the_whole(whole, folder, images(batch, *open_split(folder).manifest.input.shape))


def test_every_articulation_point_is_a_cut_and_no_branch_is(tmp_path):
    cuts = checked(survey(chain(tmp_path / "m.onnx"))).cuts
    assert [cut.name for cut in cuts] == ["c1", "r1", "sum", "r2", "pooled", "flat"]
    assert [cut.op for cut in cuts] == ["Conv", "Relu", "Add", "Relu", "GlobalAveragePool", "Flatten"]


def test_what_a_cut_costs(tmp_path):
    cuts = {cut.name: cut for cut in checked(survey(chain(tmp_path / "m.onnx"))).cuts}
    first, second = 4 * 3 * 9, 4 * 4 * 9
    assert (cuts["r1"].shape, cuts["r1"].nbytes) == ((4, 8, 8), 4 * 4 * 64)
    assert (cuts["r1"].params, cuts["r1"].macs) == (first, 64 * first)
    # Both branches multiply, with the same weights.
    assert (cuts["sum"].params, cuts["sum"].macs) == (first + second, 64 * (first + 2 * second))
    assert cuts["flat"].params == first + second


@pytest.mark.parametrize("cut", ["c1", "r1", "sum", "r2", "pooled", "flat"])
def test_halves_of_every_cut_are_valid_and_give_what_the_whole_gives(tmp_path, cut):
    whole = chain(tmp_path / "m.onnx")
    manifest = split_onnx(whole, cut, tmp_path / "split", data="digits")
    assert (manifest.model, manifest.cut, manifest.classes, manifest.data) == ("m.onnx", cut, 10, "digits")
    assert {file.name for file in (tmp_path / "split").iterdir()} == {"split.json", "head.onnx", "tail.onnx"}
    assert open_split(tmp_path / "split").manifest == manifest
    assert_parity(whole, tmp_path / "split", 5)


def test_a_node_finds_the_cut_as_well_as_the_tensor(tmp_path):
    assert split_onnx(chain(tmp_path / "m.onnx"), "n_sum", tmp_path / "split").cut == "sum"


@pytest.mark.parametrize("name", ["light_squeezenet", "light_shufflenet"])
def test_models_that_others_made_are_cut_everywhere(tmp_path, name):
    whole = survey(LIGHT / f"{name}.onnx")
    assert len(whole.cuts) > 10
    assert checked(whole).cuts == whole.cuts


def reshaping(path, sizes, **exact):
    nodes = ["r = Relu image", ("flat = Reshape r shape", exact), "logits = MatMul flat w"]
    return write(
        path, nodes, [weights("w", 192, 10), numpy_helper.from_array(np.array(sizes), "shape")],
        given=("image", [1, 3, 8, 8]), wanted=("logits", None),
    )  # fmt: skip


def test_a_model_for_one_sample_at_a_time_stays_one(tmp_path):
    """Its Reshape states the batch in another axis than the first; running the model shows that."""
    path = reshaping(tmp_path / "m.onnx", [1, 1, 192])
    node = onnx.load(path)
    node.graph.node.append(helper.make_node("Reshape", ["logits", "ten"], ["out"]))
    node.graph.initializer.append(numpy_helper.from_array(np.array([-1, 10, 1]), "ten"))
    node.graph.node.append(helper.make_node("ReduceSum", ["out"], ["total"], keepdims=0))
    node.graph.node.append(helper.make_node("Mul", ["out", "total"], ["scaled"]))
    node.graph.output[0].name = "scaled"
    onnx.save(node, path)
    split_onnx(path, "r", tmp_path / "split")
    assert runtime().InferenceSession(tmp_path / "split/tail.onnx").get_inputs()[0].shape == [1, 3, 8, 8]
    assert_parity(path, tmp_path / "split", 1)
    # Both sides take several all the same, as when a server computes requests of several clients together.
    head, tail = open_split(tmp_path / "split").head(), open_split(tmp_path / "split").tail(threads=1)
    x = images(3, 3, 8, 8)
    np.testing.assert_allclose(tail(head(x)), one_by_one(path, x), rtol=1e-4)


@pytest.mark.parametrize("exact", [{}, {"allowzero": 0}])
def test_a_reshape_to_a_batch_of_one_is_opened(tmp_path, exact):
    path = reshaping(tmp_path / "m.onnx", [1, -1], **exact)
    split_onnx(path, "r", tmp_path / "split")
    assert runtime().InferenceSession(tmp_path / "split/tail.onnx").get_inputs()[0].shape == ["N", 3, 8, 8]
    assert_parity(path, tmp_path / "split", 1)
    x = images(3, 3, 8, 8)
    np.testing.assert_allclose(run(tmp_path / "split/tail.onnx", np.maximum(x, 0)), one_by_one(path, x), rtol=1e-4)


def test_a_batch_of_one_is_opened_where_that_changes_nothing(tmp_path):
    path = chain(tmp_path / "m.onnx", given=("image", [1, 3, 8, 8]), wanted=("logits", [1, 10]))
    split_onnx(path, "r1", tmp_path / "split")
    x = images(4, 3, 8, 8)
    together = run(tmp_path / "split/tail.onnx", run(tmp_path / "split/head.onnx", x))
    np.testing.assert_allclose(together, one_by_one(path, x), rtol=1e-4)


def test_samples_that_influence_each_other_are_kept_apart(tmp_path):
    nodes = ["r = Relu image", "p = GlobalAveragePool r", "f = Flatten p", ("logits = Softmax f", {"axis": 0})]
    path = write(tmp_path / "m.onnx", nodes, wanted=("logits", ["N", 3]))
    assert survey(path).opened is None


def test_opset_functions_metadata_and_shared_weights_go_to_both(tmp_path):
    twice = helper.make_function(
        "ours", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 15)]
    )
    nodes = [
        "a = MatMul image w",
        helper.make_node("Twice", ["a"], ["b"], domain="ours"),
        "c = MatMul b w",
        helper.make_node("Twice", ["c"], ["logits"], domain="ours"),
    ]
    path = write(
        tmp_path / "m.onnx", nodes, [weights("w", 5, 5)], given=("image", ["N", 5]), wanted=("logits", ["N", 5]),
        opset=15, functions=[twice],
    )  # fmt: skip
    split_onnx(path, "b", tmp_path / "split")
    for half in ("head", "tail"):
        model = onnx.load(tmp_path / f"split/{half}.onnx")
        assert {entry.domain: entry.version for entry in model.opset_import} == {"": 15, "ours": 1}
        assert [tensor.name for tensor in model.graph.initializer] == ["w"]
    assert_parity(path, tmp_path / "split", 2)


def test_only_what_a_half_needs_goes_into_it(tmp_path):
    split_onnx(chain(tmp_path / "m.onnx"), "pooled", tmp_path / "split")
    held = {
        half: {tensor.name for tensor in onnx.load(tmp_path / f"split/{half}.onnx").graph.initializer}
        for half in ("head", "tail")
    }
    assert held == {"head": {"k1", "k2"}, "tail": {"w", "b"}}


def test_tensors_inside_that_are_named_like_the_ends(tmp_path):
    nodes = [
        "logits = Relu x", "image = Relu logits", "y = Neg image", "out = Add y smashed",
    ]  # fmt: skip
    path = write(tmp_path / "m.onnx", nodes, [weights("smashed", 3)], given=("x", ["N", 3]), wanted=("out", ["N", 3]))
    for cut in ("logits", "image", "y"):
        split_onnx(path, cut, tmp_path / cut)
        assert_parity(path, tmp_path / cut, 3)


def test_an_output_of_several_axes_is_flattened(tmp_path):
    nodes = ["r = Relu image", "logits = Neg r"]
    path = write(tmp_path / "m.onnx", nodes, wanted=("logits", ["N", 3, 8, 8]))
    assert split_onnx(path, "r", tmp_path / "split").classes == 192
    assert_parity(path, tmp_path / "split", 2)


def test_weights_in_files_of_their_own_come_along(tmp_path):
    path = chain(tmp_path / "m.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    split_onnx(path, "r1", tmp_path / "split")
    assert_parity(path, tmp_path / "split", 2)


def test_control_flow_is_cut_before_and_after_but_not_within(tmp_path):
    """The If uses a tensor of the graph around it, and a tensor after it."""
    nodes = ["r0 = Relu image", "r = Neg r0", ("total = ReduceSum r", {"keepdims": 0}), "negative = Less total zero"]
    nodes += [("chosen = If negative", branches("r", "Neg", "Abs")), "s = Sigmoid chosen", "logits = Exp s"]
    path = write(tmp_path / "m.onnx", nodes, [numpy_helper.from_array(np.float32(0), "zero")], **FOUR)
    surveyed = checked(survey(path))
    assert [cut.name for cut in surveyed.cuts] == ["r0", "r", "s"]
    assert surveyed.opened is None
    assert "control flow" in surveyed.refused["chosen"]
    assert "control flow" in surveyed.refused["inner"]
    # What the body takes from outside is sent as well.
    assert "r would have to be sent" in surveyed.refused["negative"]
    for cut in ("r0", "r", "s"):
        split_onnx(path, cut, tmp_path / cut)
        assert_parity(path, tmp_path / cut, 1)


@pytest.mark.parametrize(
    ("cut", "complaint"),
    [("c2", "'c2': r1 would have to be sent as well"), ("c3", "r1 would have"), ("r8", r"did you mean r\d or r\d\?")],
)
def test_a_cut_that_does_not_exist_is_explained(tmp_path, cut, complaint):
    with pytest.raises(SplitError, match=complaint):
        split_onnx(chain(tmp_path / "m.onnx"), cut, tmp_path / "split")
    assert not (tmp_path / "split").exists()


def test_a_tensor_whose_batch_is_not_first_is_sent_whole(tmp_path):
    nodes = [
        ("whole = Cast image", {"to": TensorProto.INT32}),
        ("back = Cast whole", {"to": TensorProto.FLOAT}),
        ("turned = Transpose back", {"perm": [1, 0]}),
        ("logits = Transpose turned", {"perm": [1, 0]}),
    ]
    path = write(tmp_path / "m.onnx", nodes, **FOUR)
    surveyed = survey(path)
    assert [(cut.name, cut.place.free) for cut in checked(surveyed).cuts] == [
        ("whole", True), ("back", True), ("turned", False),
    ]  # fmt: skip
    split_onnx(path, "turned", tmp_path / "split")
    split, x = open_split(tmp_path / "split"), images(3, 4) * 9
    assert split.manifest.smashed.shape == (4, 1), "the whole tensor is one sample"
    np.testing.assert_array_equal(split.model()(x), np.trunc(x))


def test_operators_of_which_nothing_is_known_are_not_counted_as_nothing(tmp_path):
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("ours", 1)]
    inner = helper.make_function("ours", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opset)
    nodes = [
        "r = Relu image", helper.make_node("Double", ["r"], ["d"], domain="ours"), "m = MatMul d w",
        ("e = Einsum m w", {"equation": "ni,ij->nj"}), "logits = Neg e",
    ]  # fmt: skip
    path = write(tmp_path / "m.onnx", nodes, [weights("w", 4, 4)], **FOUR, functions=[inner])
    cuts = survey(path).cuts
    assert {cut.name: (cut.macs, cut.uncounted) for cut in cuts} == {
        "r": (0, ()), "d": (0, ("ours.Double",)), "m": (16, ("ours.Double",)), "e": (16, ("ours.Double", "Einsum")),
    }  # fmt: skip
    lines = {line.split()[0]: line for line in table("m", TensorSpec((4,)), cuts).splitlines()[2:]}
    assert lines["r"].endswith(" 0")
    assert lines["d"].endswith("not counted")
    assert lines["e"].endswith("at least 16")


def test_two_outputs_of_one_node_are_no_cut(tmp_path):
    nodes = ["r = Relu image", ("a b = Split r", {"axis": 1, "num_outputs": 2}), "logits = Add a b"]
    path = write(tmp_path / "m.onnx", nodes, given=("image", ["N", 4]), wanted=("logits", ["N", 2]), opset=18)
    surveyed = survey(path)
    assert [cut.name for cut in surveyed.cuts] == ["r"]
    assert surveyed.refused["a"] == "b would have to be sent as well"


def test_a_wrong_half_is_not_offered_and_not_written(tmp_path, monkeypatch):
    path = chain(tmp_path / "m.onnx")

    def wrong(file, before, after):
        made = part(file, before, after)
        for tensor in made.model.graph.initializer if after else ():
            tensor.raw_data = (numpy_helper.to_array(tensor) * np.float32(1.01)).tobytes()
        return made

    for module in (onnx_graph, onnx_halves):
        monkeypatch.setattr(module, "part", wrong)
    surveyed = checked(survey(path))
    assert surveyed.cuts == []
    assert "give something else than the whole, by" in surveyed.refused["r1"]
    with pytest.raises(SplitError, match="something else"):
        split_onnx(path, "r1", tmp_path / "split")
    assert not (tmp_path / "split").exists()


def test_a_draw_at_random_that_comes_out_differently_is_noticed(tmp_path):
    nodes = ["r = Relu image", "noise = RandomUniformLike r", "s = Add r noise", "logits = Neg s"]
    path = write(tmp_path / "m.onnx", nodes, **FOUR)
    assert "something else than the whole" in checked(survey(path)).refused["r"]


def test_an_open_shape_is_closed_in_the_halves(tmp_path):
    path = chain(tmp_path / "m.onnx", given=("image", ["N", 3, "height", "width"]))
    manifest = split_onnx(path, "r1", tmp_path / "split", Given((3, 12, 16)))
    assert (manifest.input.shape, manifest.smashed.shape) == ((3, 12, 16), (4, 12, 16))
    assert (manifest.input.low, manifest.input.high) == (0.0, 1.0)
    assert_parity(path, tmp_path / "split", 2)


@pytest.mark.parametrize(("mean", "std"), [((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), ((0.0,), (1 / 255,)), ((0.5,), (1.0,))])
def test_images_are_normalized_in_the_head(tmp_path, mean, std):
    path = chain(tmp_path / "m.onnx")
    surveyed = checked(survey(path, Given(mean=mean, std=std)))
    assert [cut.op for cut in surveyed.cuts[:3]] == ["Sub", "Div", "Conv"]
    x = images(3, 3, 8, 8)
    wanted = run(path, (x - np.float32(mean).reshape(1, -1, 1, 1)) / np.float32(std).reshape(1, -1, 1, 1))
    for cut in ("image_taken", "r1"):
        onnx_graph.write(surveyed, cut, tmp_path / cut)
        head = run(tmp_path / cut / "head.onnx", x)
        np.testing.assert_allclose(run(tmp_path / cut / "tail.onnx", head), wanted, rtol=1e-3, atol=1e-3)


def test_channels_that_come_last_are_normalized_there(tmp_path):
    nodes = [("t = Transpose image", {"perm": [0, 3, 1, 2]}), "p = GlobalAveragePool t", "logits = Flatten p"]
    path = write(tmp_path / "m.onnx", nodes, given=("image", ["N", 8, 8, 3]), wanted=("logits", ["N", 3]))
    onnx_graph.write(survey(path, Given(mean=(1.0, 2.0, 3.0))), "t", tmp_path / "split")
    head = run(tmp_path / "split/head.onnx", np.zeros((1, 8, 8, 3), np.float32))
    np.testing.assert_allclose(run(tmp_path / "split/tail.onnx", head), [[-1, -2, -3]], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mean": (1.0, 2.0)}, "one for each channel of 3x8x8; 2 were given"),
        ({"std": (1.0, 0.0, 1.0)}, "--std must be above 0"),
    ],
)
def test_a_normalization_that_does_not_fit(tmp_path, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        survey(chain(tmp_path / "m.onnx"), Given(**options))
