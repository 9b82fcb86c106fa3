"""The greatest error of each codec, and its bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cutlayer.errors import WireError
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.codecs.fp16 import Float16
from cutlayer.wire.codecs.packed import codec_named, decode
from tests.wire.codecs.test_codecs import ALONE

shapes = hnp.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=4)
batches = hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5)


def floats(shape=shapes, greatest=60000):
    return hnp.arrays(np.float32, shape, elements=st.floats(-greatest, greatest, width=32))


@pytest.mark.parametrize("text", ALONE)
@given(batch=floats(batches))
def test_an_error_is_small_beside_the_greatest_number_of_its_sample(text, batch):
    back = decode(codec_named(text).encode(batch)).astype(np.float64)
    greatest = np.abs(batch).max(axis=tuple(range(1, batch.ndim)), keepdims=True).astype(np.float64)
    assert np.all(np.abs(back - batch) <= np.maximum(greatest, 2.0**-118))
    assert np.all(back[np.broadcast_to(greatest, batch.shape) == 0] == 0)


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
