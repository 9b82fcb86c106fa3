"""What a device takes: frames as cameras and loaders give them, each refused with what to do, or taken as it is."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutlayer.edge.camera import fitted
from cutlayer.edge.inputs import contract
from cutlayer.errors import DataError
from cutlayer.models.manifest import Ends, Manifest
from cutlayer.onnx.session import open_half
from cutlayer.spec import TensorSpec, image_spec
from cutlayer.tensors import join
from tests.edge.test_camera import opencv
from tests.tiny_split import edge_at, images, serving

FRAME = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
FRAME[0, :3] = (0, 255, 128), (255, 0, 128), (1, 2, 3)
GOOD = np.ascontiguousarray(FRAME.transpose(2, 0, 1)[None], np.float32) / 255
ANY = TensorSpec((4,))


def takes(spec, **ends):
    manifest = Manifest("m", "c", 10, spec, TensorSpec((1,)), {"name": "none"}, None)
    return contract(
        replace(manifest, ends=Ends(**{"kept": {}, "answers": {}, "state": {}, "tail": {}} | ends))
        if ends
        else manifest
    )


RGB, GRAY = takes(image_spec(3, 32, 32)), takes(image_spec(1, 32, 32))


def with_one(value):
    array = GOOD.copy()
    array[0, 1, 2, 3] = value
    return array


@pytest.mark.parametrize(
    "batch",
    [
        GOOD, np.concatenate([GOOD] * 3), FRAME.transpose(2, 0, 1)[None].astype(np.float32) / 255, with_one(-0.0),
        with_one(1.0000004), with_one(-1e-6), GOOD[..., ::-1], np.zeros_like(GOOD), np.ones_like(GOOD),
    ],
)  # fmt: skip
def test_an_image_is_taken_without_a_copy(batch):
    assert RGB(batch) is batch


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4", np.longdouble])
def test_floating_point_of_any_size_is_converted(dtype):
    taken = RGB(GOOD.astype(dtype))
    assert taken.dtype == np.float32
    assert taken.dtype.isnative
    np.testing.assert_allclose(taken, GOOD, atol=1e-3)


WRONG = {
    "uint8": (GOOD.astype(np.uint8), "cannot take uint8 of shape 1x3x32x32 as image; .* divide its numbers by 255"),
    "uint16": ((GOOD * 65535).astype(np.uint16), "divide its numbers by 65535"),
    "0 to 255": (GOOD * 255, r"cannot take numbers from 0 to 255 .* numbers from 0 to 1: divide by 255\.$"),
    "0 to 65535": (GOOD * 65535, r"divide by 65535\.$"),
    "-1 to 1": (GOOD * 2 - 1, r"make them \(x \+ 1\) / 2"),
    "normalized": ((GOOD - 0.45) / 0.22, "undo the normalization, which is part of the head"),
    "NaN": (with_one(np.nan), r"values that are infinite or NaN \(1 here\)"),
    "infinite": (with_one(np.inf), "infinite"),
    "minus infinite": (with_one(-np.inf), "infinite"),
    "too large for the type": (with_one(0).astype(np.float64) + np.eye(32) * 1e300, "infinite"),
    "a frame": (FRAME, r"put the channels first with x\.transpose\(2, 0, 1\)\[None\]; divide its numbers by 255"),
    "channels last": (FRAME[None] / 255, r"x\.transpose\(0, 3, 1, 2\)\.$"),
    "no batch": (GOOD[0], r"axis of the batch with x\[None\]\.$"),
    "empty": (GOOD[:0], "give at least one sample"),
    "gray": (GOOD[:, :1], r"np\.repeat\(x, 3, axis=1\)\.$"),
    "gray frame": (GOOD[0, 0], r"x\[None, None\], and give each pixel 3 channels"),
    "RGBA": (np.concatenate([GOOD, GOOD[:, :1]], 1), r"opacity, with x\[:, :3\]\.$"),
    "VGA": (np.zeros((1, 3, 480, 640), np.float32), r"scale and crop it to 32 rows and 32 columns, as cutlayer\.edge"),
    "VGA frame": (np.zeros((480, 640, 4)), r"2, 0, 1\)\[None\]; leave out the fourth channel.*; scale and crop"),
    "five axes": (GOOD[None], "one image in each place of the first axis"),
    "one number": (np.array(0.5, np.float32), "float32 of shape one number"),
    "bool": (GOOD > 0.5, r"x\.astype\(np\.float32\)"),
    "text": (GOOD.astype(str), "cannot take <U32 of shape"),
    "a list": (GOOD.tolist(), "cannot take a list as image.*make it a numpy array"),
    "nothing": (None, "cannot take a NoneType"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_frame_of_another_kind_is_refused_with_what_to_do(name):
    batch, sentence = WRONG[name]
    with pytest.raises(DataError, match=sentence) as refused:
        RGB(batch)
    assert "it takes float32 of shape Nx3x32x32, finite numbers from 0 to 1: " in str(refused.value)


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [(GOOD, "x.mean"), (np.concatenate([GOOD] * 2, 1)[:, :4], "x.:, :3..mean"), (GOOD[0, 0], "x.None, None.")],
)
def test_a_head_for_gray_images_says_how_to_make_them(batch, sentence):
    with pytest.raises(DataError, match=sentence):
        GRAY(batch)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_of_a_camera_becomes_what_the_head_takes(channels):
    spec = image_spec(channels, 32, 32)
    wide = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    batch = fitted(wide, spec, opencv(None))
    assert takes(spec)(batch) is batch


def test_numbers_without_a_range_need_only_be_finite():
    check = takes(ANY)
    batch = np.array([[-1e30, 0, 5, 3e38]], np.float32)
    assert check(batch) is batch
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(DataError, match="it takes float32 of shape Nx4, finite numbers: replace"):
            check(np.array([[0, 0, bad, 0]], np.float32))
    with pytest.raises(DataError, match="one sample in each place"):
        check(np.zeros((1, 5), np.float32))
    with pytest.raises(DataError, match=r"float32 of shape 4 as image; .* x\[None\]"):
        check(np.zeros(4, np.float32))


def test_whole_numbers_are_of_their_type_and_in_any_range():
    check = takes(TensorSpec((4,), "int64", 0.0, 255.0))
    words = np.array([[0, 70_000, -1, 3]])
    assert check(words) is words
    assert check(words.astype(np.int32)).dtype == np.int64
    with pytest.raises(DataError, match=r"cannot take float64 .* it takes int64 of shape Nx4: .* if that changes no"):
        check(words / 2)
    with pytest.raises(DataError, match="cannot take uint64"):
        check(words.astype(np.uint64))


def test_each_of_several_inputs_is_checked():
    check = takes(
        image_spec(3, 32, 32), head={"photo": image_spec(3, 32, 32), "h": ANY}, tail={"mask": ANY}, state={"h": "hn"}
    )
    mask = np.array([[-1e9, 0, 0, 0]], np.float32)
    batch = join({"photo": GOOD, "mask": mask})
    assert check(batch) is batch
    # State that a program gives is left to the head.
    given = join({"photo": GOOD, "mask": mask, "h": np.full((1, 4), np.inf, np.float32)})
    assert check(given) is given
    converted = check(join({"photo": GOOD.astype(np.float64), "mask": mask}))
    np.testing.assert_array_equal(converted["photo"], GOOD)
    with pytest.raises(DataError, match=r"as photo.*divide by 255"):
        check(join({"photo": GOOD * 255, "mask": mask}))
    with pytest.raises(DataError, match="as mask"):
        check(join({"photo": GOOD, "mask": np.full((1, 4), np.nan, np.float32)}))
    with pytest.raises(DataError, match="takes photo, mask, and mask was not given"):
        check(GOOD)


def test_a_batch_that_is_refused_is_not_sent_and_the_next_is(folder):
    with serving(folder, "inprocess") as client:
        edge = edge_at(folder, client)
        with pytest.raises(DataError, match="divide by 255"):
            edge.infer(images(1) * 255)
        edge.infer(images(1))


def test_a_word_that_the_model_does_not_know_is_an_error_of_ours(tmp_path):
    ids = helper.make_tensor_value_info("image", TensorProto.INT64, ["N", 2])
    smashed = helper.make_tensor_value_info("smashed", TensorProto.FLOAT, ["N", 2, 3])
    table = numpy_helper.from_array(np.eye(3, dtype=np.float32), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "image"], ["smashed"])], "words", [ids], [smashed], [table]
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(tmp_path / "head.onnx"))
    words, vectors = TensorSpec((2,), "int64", 0.0, 2.0), TensorSpec((2, 3))
    head = open_half(tmp_path / "head.onnx", 1, {"image": words}, {"smashed": vectors})
    assert head(np.array([[0, 2]])).shape == (1, 2, 3)
    with pytest.raises(DataError, match=r"head\.onnx cannot compute this batch: .*out of .*bounds"):
        head(np.array([[0, 3]]))
