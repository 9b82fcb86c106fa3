"""Seams and ends of any numeric type: float32 is sent, and the halves give what the file gives, to the bit."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutlayer.onnx.graph import checked, survey
from cutlayer.onnx.session import runtime
from cutlayer.onnx.types import LOSSLESS
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named, decode
from tests.onnx.onnx_models import FOUR, split_onnx, weights, write

X = np.random.default_rng(2).random((3, 4), np.float32)


def plain(path, array):
    """The output of a file, node by node."""
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: array})[0]


def through(path, kind, scale=100.0):
    """A model whose only seams between `scaled` and `back` are of that type."""
    nodes = [
        "scaled = Mul image scale",
        ("narrow = Cast scaled", {"to": kind}),
        "narrow2 = Identity narrow",
        ("back = Cast narrow2", {"to": TensorProto.FLOAT}),
        "logits = MatMul back w",
    ]
    return write(path, nodes, [numpy_helper.from_array(np.float32(scale), "scale"), weights("w", 4, 4)], **FOUR)


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        ("FLOAT16", (None, None)), ("BFLOAT16", (None, None)), ("DOUBLE", (None, None)), ("UINT8", (0, 255)),
        ("INT8", (-128, 127)), ("INT16", (-32768, 32767)), ("UINT16", (0, 65535)), ("INT32", (-(2**24), 2**24)),
        ("INT64", (-(2**24), 2**24)), ("UINT32", (0, 2**24)), ("UINT64", (0, 2**24)), ("BOOL", (0, 1)),
    ],
)  # fmt: skip
def test_a_seam_of_any_type(tmp_path, kind, bounds):
    path = through(tmp_path / "m.onnx", getattr(TensorProto, kind))
    surveyed = checked(survey(path))
    cuts = {cut.name: cut for cut in surveyed.cuts}
    assert list(cuts) == ["scaled", "narrow", "narrow2", "back"]
    assert cuts["narrow2"].dtype == {"DOUBLE": "float64"}.get(kind, kind.lower())
    smashed = cuts["narrow2"].smashed
    assert (smashed.dtype, smashed.low, smashed.high) == ("float32", *bounds)
    split_onnx(path, "narrow2", tmp_path / "split")
    split = open_split(tmp_path / "split")
    sent = split.head()(X)
    assert sent.dtype == np.float32
    np.testing.assert_array_equal(split.tail()(sent), plain(path, X))


@pytest.mark.parametrize(("kind", "codec"), LOSSLESS.items())
def test_the_codec_that_loses_nothing(tmp_path, kind, codec):
    path = through(tmp_path / "m.onnx", getattr(TensorProto, kind.upper()))
    split_onnx(path, "narrow", tmp_path / "split")
    split = open_split(tmp_path / "split")
    sent = decode(codec_named(codec).encode(split.head()(X)))
    np.testing.assert_array_equal(split.tail()(sent), plain(path, X))


def test_noise_on_whole_numbers_is_rounded_and_kept_in_range(tmp_path):
    path = through(tmp_path / "m.onnx", TensorProto.UINT8)
    split_onnx(path, "narrow", tmp_path / "split")
    tail = open_split(tmp_path / "split").tail()
    disturbed = np.array([[-3.0, 0.4, 254.6, 300.0]], np.float32)
    np.testing.assert_array_equal(tail(disturbed), tail(np.array([[0, 0, 255, 255]], np.float32)))


def test_numbers_that_float32_does_not_hold_are_no_cut(tmp_path):
    refused = survey(through(tmp_path / "m.onnx", TensorProto.INT64, 1e9)).refused
    assert "int64 with numbers up to " in refused["narrow"]
    assert "which float32 does not hold exactly" in refused["narrow"]


def test_text_is_no_cut(tmp_path):
    nodes = [
        "r = Relu image", ("text = Cast r", {"to": TensorProto.STRING}),
        ("back = Cast text", {"to": TensorProto.FLOAT}), "logits = Neg back",
    ]  # fmt: skip
    surveyed = survey(write(tmp_path / "m.onnx", nodes, **FOUR))
    assert [cut.name for cut in surveyed.cuts] == ["r", "back"]
    assert surveyed.refused["text"] == "it is string, which holds no numbers that can be sent"


def of_camera(path):
    """A model that takes 8x8 pixels as a camera gives them, and converts them itself."""
    nodes = [
        ("f = Cast pixels", {"to": TensorProto.FLOAT}), "n = Div f c255", ("t = Transpose n", {"perm": [0, 3, 1, 2]}),
        "flat = Flatten t", "logits = MatMul flat w",
    ]  # fmt: skip
    constants = [numpy_helper.from_array(np.float32(255), "c255"), weights("w", 192, 10)]
    return write(path, nodes, constants, given=("pixels", ["N", 8, 8, 3]), types=(TensorProto.UINT8, TensorProto.FLOAT))


def test_an_image_of_uint8_goes_in_as_0_to_1(tmp_path):
    path = of_camera(tmp_path / "m.onnx")
    manifest = split_onnx(path, "t", tmp_path / "split")
    assert (manifest.input.shape, manifest.input.dtype) == ((8, 8, 3), "float32")
    assert (manifest.input.low, manifest.input.high) == (0.0, 1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    split = open_split(tmp_path / "split")
    logits = split.model()(pixels.astype(np.float32) / 255)
    np.testing.assert_allclose(logits, plain(path, pixels), rtol=1e-4)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_a_model_of_another_float_takes_and_gives_float32(tmp_path, kind):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 4], weights("w", 4, 4).raw_data, raw=True)
    nodes = [("v = Cast w", {"to": kind}), "a = MatMul image v", "r = Relu a", "logits = MatMul r v"]
    path = write(tmp_path / "m.onnx", nodes, [weight], **FOUR, types=(kind, kind))
    surveyed = checked(survey(path))
    assert [cut.name for cut in surveyed.cuts if cut.op != "Cast"] == ["a", "r"]
    assert "logits" not in [cut.name for cut in surveyed.cuts]
    if kind == TensorProto.FLOAT16:
        assert surveyed.refused["logits_given"] == "it is the answer"
    split_onnx(path, "r", tmp_path / "split")
    model = open_split(tmp_path / "split").model()
    float32 = np.maximum(X @ numpy_helper.to_array(weights("w", 4, 4)), 0) @ numpy_helper.to_array(weights("w", 4, 4))
    assert model(X).dtype == np.float32
    np.testing.assert_allclose(model(X), float32, rtol=0.05, atol=0.05)
