import tracemalloc

import numpy as np
import pytest
import zstandard

from cutlayer.cloud.job import Job
from cutlayer.cloud.reader import Reader
from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.message import Inference, infer_request
from cutlayer.wire.template import completed
from tests.cloud.callers import Waiting
from tests.tiny_split import SMASHED, write_split

MIB = 1 << 20


@pytest.fixture
def reader(tmp_path):
    return Reader(write_split(tmp_path / "split"), max_samples=256)


def request(tensor, id):
    empty = tensor._replace(data=b"")
    template = infer_request(Inference("tiny@relu", "", "", {"smashed": empty}, {"session": "s"}))
    return completed(template, id, tensor.data)


def smashed(reader, message):
    template, name, data = reader.read(message)
    return reader.smashed(Job(message, template, name, data, Waiting(), 0, 0))


@pytest.mark.parametrize("codec", ["raw", "fp16", "int8", "int4:channel+zstd", "top-k"])
def test_the_header_of_a_session_is_read_once_whatever_the_codec(reader, codec):
    rng = np.random.default_rng(0)
    tensors = [codec_named(codec).encode(rng.random((1, *SMASHED.shape), np.float32)) for _ in range(2)]
    first, second = (reader.read(request(tensor, f"s-{i}")) for i, tensor in enumerate(tensors))
    assert first[0] is second[0]
    assert [read[1:] for read in (first, second)] == [(f"s-{i}", (tensor.data,)) for i, tensor in enumerate(tensors)]


@pytest.mark.parametrize("shape", [(4096, 4096), (4096, 64, 64), (0, *SMASHED.shape), SMASHED.shape, ()])
def test_a_tensor_that_the_tail_does_not_take_is_refused_before_it_is_unpacked(reader, shape):
    bomb = zstandard.ZstdCompressor().compress(bytes(4 * int(np.prod(shape))))
    message = request(Encoded("FP32", shape, bomb, {"codec": "raw+zstd"}), "s-0")
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match=r"Send float32 of shape Nx2x6x6"):
            smashed(reader, message)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_numbers_of_another_type_are_refused(reader):
    with pytest.raises(DecodeError, match="not int32"):
        smashed(reader, request(codec_named("raw").encode(np.ones((1, *SMASHED.shape), np.int32)), "s-0"))
