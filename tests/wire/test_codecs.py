import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cutlayer.errors import DecodeError
from cutlayer.registry import CODECS
from cutlayer.wire.codecs.base import DATATYPES, MAX_TENSOR_BYTES, Encoded, decode
from cutlayer.wire.codecs.fp16 import Float16
from cutlayer.wire.codecs.raw import Raw

shapes = hnp.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=4)
arrays = st.sampled_from(list(DATATYPES.values())).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
floats = hnp.arrays(np.float32, shapes, elements=st.floats(-60000, 60000, width=32))


@pytest.mark.parametrize("name", CODECS)
@given(array=floats)
def test_every_codec_gives_back_shape_and_type_and_says_its_name(name, array):
    codec = CODECS.make(name)
    encoded = codec.encode(array)
    assert encoded.parameters["codec"] == name == codec.name
    back = decode(encoded)
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert eval(repr(codec), {type(codec).__name__: type(codec)}).encode(array).data == encoded.data


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


@given(array=floats)
def test_half_precision_error_is_half_a_step(array):
    back = decode(Float16().encode(array))
    assert np.all(np.abs(back - array) <= np.maximum(np.abs(array) * 2.0**-11, 2.0**-25))


def test_half_precision_saturates():
    array = np.array([1e30, -1e30, np.inf], np.float32)
    np.testing.assert_array_equal(decode(Float16().encode(array)), [65504, -65504, 65504])


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
        Encoded("object", (1,), b"12345678"),
        Encoded("FP32", (2,), b"12345678", {"codec": "pickle"}),
        Encoded("FP32", (2,), b"12345678", {"codec": "fp16"}),
        Encoded("FP32", (2,), b"12345678", {"codec": 3}),
        Encoded("UINT8", (MAX_TENSOR_BYTES + 1,), b"1234"),
    ],
)
def test_a_description_that_lies_is_refused_before_anything_is_allocated(encoded):
    with pytest.raises(DecodeError):
        decode(encoded)


def test_types_that_the_protocol_lacks_cannot_be_sent():
    with pytest.raises(TypeError, match="complex64"):
        Raw().encode(np.zeros(2, np.complex64))
    with pytest.raises(TypeError, match="object"):
        Raw().encode(np.array([object()]))
