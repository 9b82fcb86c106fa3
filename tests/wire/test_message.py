import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutlayer.errors import DecodeError, Refused
from cutlayer.wire import handshake
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.message import (
    MAX_HEADER_BYTES,
    Inference,
    Kind,
    Message,
    infer_reply,
    infer_request,
    read_infer_reply,
    read_infer_request,
)
from cutlayer.wire.template import completed, timed, without_id

text = st.text(max_size=20)
values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | text
parameters = st.dictionaries(text, values, max_size=4)
tensors = st.builds(
    Encoded,
    st.sampled_from(["FP32", "FP16"]),
    st.lists(st.integers(0, 99), max_size=4).map(tuple),
    st.binary(max_size=40),
    parameters,
)
inferences = st.builds(Inference, text, text, text, st.dictionaries(text, tensors, max_size=3), parameters)


@pytest.mark.parametrize(("write", "read"), [(infer_request, read_infer_request), (infer_reply, read_infer_reply)])
@given(inference=inferences)
def test_an_inference_survives_the_wire(write, read, inference):
    message = write(inference)
    assert read(message) == inference
    assert message.nbytes == len(message.header) + sum(len(t.data) for t in inference.tensors.values())


def test_a_bool_stays_a_bool_and_an_int_an_int():
    read = read_infer_request(infer_request(Inference("m", "v", "i", {}, {"yes": True, "one": 1, "half": 0.5})))
    assert {name: type(value) for name, value in read.parameters.items()} == {"yes": bool, "one": int, "half": float}


@given(inference=inferences, id=st.text("0123456789abcdef-", max_size=40))
def test_a_request_is_completed_from_a_template_without_id_and_bytes(inference, id):
    contents = [tensor.data for tensor in inference.tensors.values()]
    template = infer_request(inference._replace(id=""))
    request = completed(template, id, *contents)
    assert read_infer_request(request) == inference._replace(id=id)
    assert without_id(request.header) == (template.header, id)


def test_a_reply_gets_its_durations_last():
    whole = Encoded("UINT8", (3,), b"abc", {"codec": "raw"})
    template = infer_reply(Inference("m", "v", "", {"logits": whole._replace(data=b"")}))
    reply = read_infer_reply(timed(completed(template, "i", b"abc"), 0, 1, 2, 3))
    assert reply == Inference(
        "m", "v", "i", {"logits": whole}, {"queue_ns": 0, "decode_ns": 1, "tail_ns": 2, "reply_ns": 3}
    )


@given(noise=st.binary(max_size=60))
def test_noise_does_not_end_in_an_id_or_does(noise):
    ended = without_id(noise)
    assert ended is None or completed(Message(Kind.INFER, ended[0]), ended[1]).header == noise


def test_ids_have_a_limit():
    with pytest.raises(DecodeError, match="127"):
        completed(Message(Kind.INFER, b""), "x" * 128)
    with pytest.raises(DecodeError, match="127"):
        read_infer_request(infer_request(Inference("m", "v", "x" * 128, {})))


def test_metadata_survives_the_wire():
    metadata = handshake.Metadata("m@c", ("v",), {"smashed": ("FP32", (-1, 2, 3))}, {"logits": ("FP32", (-1, 10))})
    assert handshake.read_metadata_reply(handshake.metadata_reply(metadata)) == metadata
    assert handshake.read_metadata_request(handshake.metadata_request("m@c", "v")) == handshake.Metadata("m@c", ("v",))


def test_an_error_survives_the_wire():
    refused = handshake.read_error_reply(handshake.error_reply(Refused("NOT_FOUND", "Ask elsewhere.")))
    assert (refused.code, str(refused)) == ("NOT_FOUND", "Ask elsewhere.")


@pytest.mark.parametrize(
    "read",
    [
        read_infer_request,
        read_infer_reply,
        handshake.read_metadata_request,
        handshake.read_metadata_reply,
        handshake.read_error_reply,
    ],
)
@given(noise=st.binary(max_size=60))
def test_noise_is_read_or_refused_and_nothing_else(read, noise):
    try:
        read(Message(Kind.INFER, noise))
    except DecodeError:
        return


def test_a_header_beyond_the_limit_is_not_parsed():
    with pytest.raises(DecodeError, match="exceeds the limit"):
        read_infer_request(Message(Kind.INFER, b"\n" * (MAX_HEADER_BYTES + 1), (b"",)))


@pytest.mark.parametrize("contents", [(), (b"1", b"2")])
def test_each_tensor_that_the_header_describes_must_come(contents):
    message = infer_request(Inference("m", "v", "i", {"smashed": Encoded("UINT8", (1,), b"1")}))
    with pytest.raises(DecodeError, match="describes 1 tensors"):
        read_infer_request(Message(Kind.INFER, message.header, contents))


def test_two_tensors_of_one_name_are_refused():
    first = infer_request(Inference("m", "v", "i", {"smashed": Encoded("UINT8", (1,), b"1")}))
    twice = first.header + infer_request(Inference("", "", "", {"smashed": Encoded("UINT8", (1,), b"1")})).header
    with pytest.raises(DecodeError, match="the same name"):
        read_infer_request(Message(Kind.INFER, twice, (b"1", b"1")))
