import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutlayer.errors import DecodeError
from cutlayer.wire.message import MAX_HEADER_BYTES, Kind, Message, read_infer_reply, read_infer_request
from cutlayer.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from cutlayer.wire.typed_contents import take_out

numbers = st.lists(st.floats(width=32, allow_nan=False), max_size=40)
FIELDS = {"FP32": ("fp32_contents", np.float32), "FP64": ("fp64_contents", np.float64)}


def request(*tensors, datatype="FP32"):
    message = ModelInferRequest(model_name="m", id="7")
    for number, values in enumerate(tensors):
        entry = message.inputs.add(name=f"t{number}", datatype=datatype, shape=[len(values)])
        getattr(entry.contents, FIELDS[datatype][0]).extend(values)
        entry.parameters["later"].int64_param = number
    message.parameters["session"].string_param = "s"
    return message


@given(st.lists(numbers, min_size=1, max_size=4), st.sampled_from(list(FIELDS)))
def test_typed_contents_are_read_as_raw_ones_would_be(tensors, datatype):
    read = read_infer_request(Message(Kind.INFER, request(*tensors, datatype=datatype).SerializeToString()))
    assert (read.id, read.parameters) == ("7", {"session": "s"})
    for number, values in enumerate(tensors):
        tensor = read.tensors[f"t{number}"]
        assert bytes(tensor.data) == np.array(values, FIELDS[datatype][1]).tobytes()
        assert (tensor.shape, tensor.parameters) == ((len(values),), {"later": number})


def test_an_answer_of_another_server_may_hold_them_too():
    message = ModelInferResponse(model_name="m", id="7")
    message.outputs.add(name="y", datatype="FP32", shape=[2]).contents.fp32_contents.extend([1.0, 2.0])
    read = read_infer_reply(Message(Kind.INFER, message.SerializeToString()))
    assert np.frombuffer(read.tensors["y"].data, np.float32).tolist() == [1.0, 2.0]


def test_contents_do_not_count_as_header():
    values = np.arange(MAX_HEADER_BYTES, dtype=np.float32)
    read = read_infer_request(Message(Kind.INFER, request(values).SerializeToString()))
    assert bytes(read.tensors["t0"].data) == values.tobytes()


def test_unpacked_numbers_are_read_too():
    tensor = b"\x12\x04FP32" + b"\x2a\x0a" + b"\x35" + np.float32(1).tobytes() + b"\x35" + np.float32(2).tobytes()
    _, (contents,) = take_out(b"\x2a" + bytes([len(tensor)]) + tensor)
    assert np.frombuffer(contents, np.float32).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("spoiled", ["int_contents", "bytes_contents"])
def test_other_types_are_refused_with_a_sentence(spoiled):
    message = request([1.0])
    getattr(message.inputs[0].contents, spoiled).append(b"1" if spoiled == "bytes_contents" else 1)
    with pytest.raises(DecodeError, match="send others raw"):
        take_out(message.SerializeToString())


def test_contents_of_some_tensors_only_are_refused():
    message = request([1.0], [2.0])
    message.inputs[1].ClearField("contents")
    with pytest.raises(DecodeError, match="some have none"):
        take_out(message.SerializeToString())


def test_a_swarm_of_empty_fields_costs_nothing():
    with pytest.raises(DecodeError, match="at most 1024 fields"):
        take_out(b"\x2a\x00" * 10_000_000)


@given(numbers, st.data())
def test_changed_bytes_are_read_or_refused_and_nothing_else(values, data):
    whole = request(values).SerializeToString()
    at = data.draw(st.integers(0, len(whole) - 1))
    mangled = data.draw(st.sampled_from([whole[:at], whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :]]))
    try:
        rest, contents = take_out(mangled)
    except DecodeError:
        return
    assert len(rest) + sum(map(len, contents)) <= len(mangled)
