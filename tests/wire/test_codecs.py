import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cutlayer.errors import ConfigError, DecodeError, WireError
from cutlayer.registry import CODECS
from cutlayer.wire.codecs.base import DATATYPES, MAX_TENSOR_BYTES, Encoded, decode
from cutlayer.wire.codecs.fp16 import Float16
from cutlayer.wire.codecs.packed import Packed, Packing, codec_named
from cutlayer.wire.codecs.raw import Raw

shapes = hnp.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=4)
batches = hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5)
arrays = st.sampled_from(list(DATATYPES.values())).flatmap(lambda dtype: hnp.arrays(dtype, shapes))


def floats(shape=shapes, greatest=60000):
    return hnp.arrays(np.float32, shape, elements=st.floats(-greatest, greatest, width=32))


PACKINGS = [name for name in CODECS if issubclass(CODECS.load(name), Packing)]
ALONE = [*(name for name in CODECS if name not in PACKINGS), "int8:channel", "int4:channel", "top-k:0.5", "top-k:1"]
PACKED = [f"{name}+{packing}" for name in ALONE for packing in (*PACKINGS, "+".join(PACKINGS), "zstd+shuffle")]
CLASSES = {one.__name__: one for one in (Packed, *map(CODECS.load, CODECS))}


def wire_name(text):
    return "+".join(part.partition(":")[0] for part in text.split("+"))


@pytest.mark.parametrize("text", [*ALONE, *PACKED])
@given(array=floats())
def test_every_codec_gives_back_shape_and_type_and_says_its_name(text, array):
    codec = codec_named(text)
    encoded = codec.encode(array)
    assert encoded.parameters["codec"] == codec.name == wire_name(text)
    assert encoded.shape == array.shape
    back = decode(encoded)
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert np.isfinite(back).all()
    assert eval(repr(codec), CLASSES).encode(array).data == encoded.data


@pytest.mark.parametrize("text", ALONE)
@given(data=st.data())
def test_what_is_decoded_of_a_sample_does_not_depend_on_its_batch(text, data):
    batch = data.draw(floats(batches))
    codec = codec_named(text)
    alone = np.concatenate([decode(codec.encode(batch[i : i + 1])) for i in range(len(batch))])
    np.testing.assert_array_equal(decode(codec.encode(batch)), alone)


@pytest.mark.parametrize("text", [*ALONE, *PACKED])
def test_the_description_is_the_same_for_all_values(text):
    # A session's header is written, and read, once.
    codec = codec_named(text)
    one, other = (codec.encode(np.full((2, 3, 4), value, np.float32)) for value in (0.5, -7))
    assert one._replace(data=b"") == other._replace(data=b"")


@pytest.mark.parametrize("text", ALONE)
@pytest.mark.parametrize("packing", ["shuffle", "zstd", "shuffle+zstd"])
@given(array=floats())
def test_packing_loses_nothing(text, packing, array):
    bare, packed = codec_named(text), codec_named(f"{text}+{packing}")
    np.testing.assert_array_equal(decode(packed.encode(array)), decode(bare.encode(array)))


@pytest.mark.parametrize("text", [*ALONE, *PACKED])
def test_arrays_in_any_order_of_memory_are_encoded_the_same(text):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(0, 2, 1)
    codec = codec_named(text)
    assert codec.encode(array).data == codec.encode(array.copy()).data


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("int9", "int8"),
        ("zstd", r"raw\+zstd"),
        ("int8+fp16", "two codecs"),
        ("int8+zstd+zstd", "twice"),
        ("int8+", "no codec named ''"),
        ("", "no codec named ''"),
        ("fp16:1", "no option"),
        ("top-k:most", "type float"),
        ("top-k:0", "more than 0"),
        ("top-k:1.01", "at most 1"),
        ("top-k:nan", "finite|type"),
        ("int8:row", "per tensor or per channel"),
        ("raw+zstd:20", "1 to 19"),
        ("raw+zstd:fast", "type int"),
    ],
)
def test_a_wrong_name_is_one_sentence(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        codec_named(text)


def test_without_the_package_zstd_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(ConfigError, match=r"pip install 'cutlayer\[zstd\]'"):
        codec_named("int8+zstd")


@given(array=arrays)
def test_raw_is_lossless_for_every_type_and_shape(array):
    back = decode(Raw().encode(array))
    assert back.tobytes() == array.tobytes()
    assert (back.shape, back.dtype) == (array.shape, array.dtype)


def test_raw_bytes_are_little_endian_in_c_order():
    array = np.array([[1.0, 2.0], [-1.0, 0.5]], np.float32)
    expected = bytes.fromhex("0000803f 00000040 000080bf 0000003f")
    assert bytes(Raw().encode(array).data) == expected
    assert bytes(Raw().encode(array.astype(">f4")).data) == expected
    assert bytes(Raw().encode(array.T).data) == expected[:4] + expected[8:12] + expected[4:8] + expected[12:]


def test_raw_does_not_copy_and_decodes_read_only():
    array = np.ones((2, 3), np.float32)
    back = decode(Raw().encode(array))
    assert np.shares_memory(back, array)
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 0
    assert array.flags.writeable


def test_types_that_the_protocol_lacks_cannot_be_sent():
    with pytest.raises(TypeError, match="complex64"):
        Raw().encode(np.zeros(2, np.complex64))
    with pytest.raises(TypeError, match="object"):
        Raw().encode(np.array([object()]))


@given(array=floats())
def test_half_precision_error_is_half_a_step(array):
    back = decode(Float16().encode(array))
    assert np.all(np.abs(back - array) <= np.maximum(np.abs(array) * 2.0**-11, 2.0**-25 * (1 + 2.0**-11)))


@given(array=floats(greatest=65504))
def test_half_precision_rounds_as_numpy_does(array):
    normal = array * (np.abs(array) >= 2.0**-14)
    np.testing.assert_array_equal(decode(Float16().encode(normal)), normal.astype(np.float16).astype(np.float32))


def test_half_precision_rounds_halfway_to_even_as_numpy_does():
    normal = np.arange(0x0400, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (normal[:-1] + normal[1:]) / 2
    near = [between, np.nextafter(between, np.float32(0)), np.nextafter(between, np.float32(np.inf))]
    array = np.concatenate([*near, np.negative(near).ravel()])
    np.testing.assert_array_equal(decode(Float16().encode(array)), array.astype(np.float16).astype(np.float32))


def test_every_half_float_is_read_as_numpy_reads_it():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    for some in (halves, finite):
        back = decode(Encoded("FP16", some.shape, some.tobytes(), {"codec": "fp16"}))
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(back, some.astype(np.float32))
    np.testing.assert_array_equal(decode(Float16().encode(finite.astype(np.float32))), finite)


def test_half_precision_saturates_and_keeps_what_is_undefined():
    array = np.array([1e30, -1e30, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(decode(Float16().encode(array)), [65504, -65504, 65504, np.nan])


any_float = hnp.arrays(np.float32, shapes, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


@given(array=any_float)
def test_bfloat16_error_is_half_a_step(array):
    with np.errstate(over="ignore"):
        back = decode(codec_named("bf16").encode(array)).astype(np.float64)
    near = np.abs(array) <= 3.38e38
    error = np.abs(back - array)[near]
    assert np.all(error <= np.maximum(np.abs(array[near]).astype(np.float64) * 2.0**-8, 2.0**-134))


def test_bfloat16_rounds_to_even_and_keeps_what_is_undefined_or_infinite():
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7FFFFFFF, 0xFF800001, 0x7F800000, 0xFF800000], np.uint32)
    back = decode(codec_named("bf16").encode(bits.view(np.float32)))
    np.testing.assert_array_equal(back, [1.0, 1.015625, 1.0078125, np.nan, np.nan, np.inf, -np.inf])


@pytest.mark.parametrize(("name", "greatest"), [("int8", 255), ("int4", 15)])
@pytest.mark.parametrize("per", ["tensor", "channel"])
@given(data=st.data())
def test_levels_are_off_by_half_a_step_at_most(name, greatest, per, data):
    array = data.draw(
        st.one_of(floats(batches), hnp.arrays(np.float32, batches, elements=st.floats(-(2.0**120), 2.0**120, width=32)))
    )
    back = decode(codec_named(f"{name}:{per}").encode(array)).astype(np.float64)
    axes = tuple(range(2 if per == "channel" and array.ndim > 2 else 1, array.ndim))
    low, high = (f(array, axis=axes, keepdims=True).astype(np.float64) for f in (np.min, np.max))
    rounding = 2.0**-22 * np.maximum(np.abs(low), np.abs(high)) + 2.0**-118
    assert np.all(np.abs(back - array) <= (high - low) / greatest / 2 + rounding)


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_the_ends_and_the_zeros_of_a_relu_are_exact(name):
    array = np.maximum(np.random.default_rng(0).normal(size=(3, 5, 7)), 0).astype(np.float32)
    back = decode(codec_named(name).encode(array))
    assert np.all(back[array == 0] == 0)
    np.testing.assert_allclose(back.max(axis=(1, 2)), array.max(axis=(1, 2)), rtol=1e-6)


def test_channels_of_their_own_cost_eight_bytes_and_save_the_quiet_ones():
    array = np.random.default_rng(0).random((2, 2, 64)).astype(np.float32)
    array[:, 0] *= 1000
    whole, each = (codec_named(f"int8:{per}").encode(array) for per in ("tensor", "channel"))
    assert len(each.data) - len(whole.data) == 2 * 8
    errors = [np.abs(decode(encoded) - array)[:, 1].max() for encoded in (whole, each)]
    assert errors[1] <= 1 / 255 < errors[0]


def test_int4_puts_the_first_of_two_in_the_lower_half():
    encoded = codec_named("int4").encode(np.array([[0, 15, 1, 2, 7]], np.float32))
    assert bytes(encoded.data) == np.array([0, 1], "<f4").tobytes() + bytes([0xF0, 0x21, 0x07])


@pytest.mark.parametrize("keep", [0.05, 0.3, 1])
@given(batch=floats(batches))
def test_top_k_keeps_the_greatest_of_each_sample_as_they_are(keep, batch):
    back = decode(codec_named(f"top-k:{keep}").encode(batch))
    for sample, kept in zip(batch.reshape(len(batch), -1), back.reshape(len(batch), -1), strict=True):
        count = int(np.ceil(keep * sample.size))
        expected = np.sort(np.abs(sample))[-count:]
        np.testing.assert_array_equal(np.sort(np.abs(kept))[-count:], expected)
        assert np.count_nonzero(kept) == np.count_nonzero(expected)
        assert np.all((kept == sample) | (kept == 0))


def test_top_k_bytes_are_bits_then_numbers():
    encoded = codec_named("top-k:0.5").encode(np.array([[0, -3, 1], [2, 0, 0]], np.float32))
    assert bytes(encoded.data) == bytes([0b1110]) + np.array([-3, 1, 2], "<f4").tobytes()


@pytest.mark.parametrize("text", ["int8", "int4:channel", "top-k", "int8+zstd"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_has_no_level_is_an_error_rather_than_another_number(text, bad):
    array = np.ones((1, 2, 3), np.float32)
    array[0, 1, 2] = bad
    with pytest.raises(WireError, match="infinite or undefined"):
        codec_named(text).encode(array)


def test_a_range_beyond_float32_has_no_levels():
    with pytest.raises(WireError, match="infinite"):
        codec_named("int8").encode(np.array([[-3e38, 3e38]], np.float32))


def test_steps_too_small_to_invert_are_no_steps():
    array = np.array([[0, 1e-40, 1e-38]], np.float32)
    np.testing.assert_array_equal(decode(codec_named("int8").encode(array)), [[0, 0, 0]])


@pytest.mark.parametrize(
    "encoded",
    [
        Encoded("FP32", (2,), b"1234567"),
        Encoded("FP32", (3,), b"12345678"),
        Encoded("FP32", (-1, -2), b"12345678"),
        Encoded("FP32", (0, 1 << 60), b""),
        Encoded("FP32", (1 << 62, 4), b""),
        Encoded("FP32", (1,) * 9, b"1234"),
        Encoded("BYTES", (4,), b"1234"),
        Encoded("BF16", (2,), b"1234"),
        Encoded("object", (1,), b"12345678"),
        Encoded("FP32", (2,), b"12345678", {"codec": "pickle"}),
        Encoded("FP32", (2,), b"12345678", {"codec": "fp16"}),
        Encoded("FP32", (2,), b"12345678", {"codec": 3}),
        Encoded("FP32", (2,), b"12345678", {"codec": "zstd"}),
        Encoded("UINT8", (1,), b"123456789", {"codec": "int8:tensor"}),
        Encoded("UINT8", (1,), b"123456789", {"codec": "int8+" * 20 + "zstd"}),
        Encoded("UINT8", (MAX_TENSOR_BYTES + 1,), b"1234"),
    ],
)
def test_a_description_that_lies_is_refused_before_anything_is_allocated(encoded):
    with pytest.raises(DecodeError):
        decode(encoded)


def test_shuffled_bytes_are_lowest_first_and_what_is_no_whole_number_stays():
    from cutlayer.wire.codecs.shuffle import Shuffle

    assert bytes(Shuffle().pack(b"abcdABCD..", 4)) == b"aAbBcCdD.."
    for itemsize in (1, 2, 4, 8):
        for size in (0, 1, 7, 8, 33):
            data = bytes(range(size))
            assert bytes(Shuffle().unpack(Shuffle().pack(data, itemsize), itemsize, size)) == data
