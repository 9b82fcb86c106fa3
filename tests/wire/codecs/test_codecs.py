from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cutlayer.errors import ConfigError, DecodeError
from cutlayer.registry import CODECS
from cutlayer.wire.codecs.base import DATATYPES, MAX_TENSOR_BYTES, Encoded, Packing
from cutlayer.wire.codecs.packed import Packed, codec_named, decode
from cutlayer.wire.codecs.raw import Raw

shapes = hnp.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=4)
batches = hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5)
arrays = st.sampled_from(list(DATATYPES.values())).flatmap(lambda dtype: hnp.arrays(dtype, shapes))


def floats(shape=shapes, greatest=60000):
    return hnp.arrays(np.float32, shape, elements=st.floats(-greatest, greatest, width=32))


class Row(NamedTuple):
    """Further options of a codec that all tests of codecs take, beside the default."""

    options: tuple[str, ...] = ()


ROWS = {
    "raw": Row(),
    "fp16": Row(),
    "bf16": Row(),
    "int8": Row(("channel",)),
    "int4": Row(("channel",)),
    "top-k": Row(("0.4", "1")),
    "shuffle": Row(),
    "zstd": Row(),
}
PACKINGS = [name for name in CODECS if issubclass(CODECS.load(name), Packing)]
NAMES = [name for name in CODECS if name not in PACKINGS]
ALONE = [*NAMES, *(f"{name}:{option}" for name in NAMES for option in ROWS[name].options)]
PACKED = [f"{name}+{packing}" for name in ALONE for packing in (*PACKINGS, "+".join(PACKINGS))]
EVERY = [*ALONE, *PACKED]
CLASSES = {codec.__name__: codec for codec in (Packed, *map(CODECS.load, CODECS))}


def wire_name(text):
    return "+".join(part.partition(":")[0] for part in text.split("+"))


def test_every_codec_has_a_row():
    assert ROWS.keys() == set(CODECS)


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_describes_itself(name):
    codec = CODECS.load(name)
    assert codec.name == name
    assert CODECS.summary(name)
    if name in NAMES:
        encoded = codec_named(name).encode(np.ones((2, 3, 4), np.float32))
        assert encoded.datatype in codec.datatypes
        assert set(encoded.parameters) == {"codec", *codec.parameters}


@pytest.mark.parametrize("text", EVERY)
@given(array=floats())
@settings(max_examples=30)
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
def test_a_decoded_sample_does_not_depend_on_its_batch(text, data):
    batch = data.draw(floats(batches))
    codec = codec_named(text)
    alone = np.concatenate([decode(codec.encode(batch[i : i + 1])) for i in range(len(batch))])
    np.testing.assert_array_equal(decode(codec.encode(batch)), alone)


@pytest.mark.parametrize("text", EVERY)
def test_the_description_is_the_same_for_all_values(text):
    # A session's header is written, and read, once.
    codec = codec_named(text)
    first, second = (codec.encode(np.full((2, 3, 4), value, np.float32)) for value in (0.5, -7))
    assert first._replace(data=b"") == second._replace(data=b"")


@pytest.mark.parametrize("text", [*PACKED, "raw+zstd+shuffle"])
@given(array=floats())
@settings(max_examples=30)
def test_packing_loses_nothing(text, array):
    bare, packed = codec_named(text.partition("+")[0]), codec_named(text)
    np.testing.assert_array_equal(decode(packed.encode(array)), decode(bare.encode(array)))


@pytest.mark.parametrize("text", EVERY)
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
        ("int8+zstd+zstd", "packing twice"),
        ("int8+", "no codec named ''"),
        ("", "no codec named ''"),
        ("fp16:1", "takes no option; write 'fp16' instead"),
        ("top-k:most", "type float"),
        ("top-k:0", "more than 0"),
        ("top-k:1.01", "at most 1"),
        ("top-k:nan", "must be a number; nan was given"),
        ("int8:row", "tensor or channel"),
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


def test_shuffled_bytes_are_lowest_first_and_a_rest_keeps_its_place():
    from cutlayer.wire.codecs.shuffle import Shuffle

    assert bytes(Shuffle().pack(b"abcdABCD..", 4)) == b"aAbBcCdD.."
    for itemsize in (1, 2, 4, 8):
        for size in (0, 1, 7, 8, 33):
            data = bytes(range(size))
            assert bytes(Shuffle().unpack(Shuffle().pack(data, itemsize), itemsize, size)) == data
