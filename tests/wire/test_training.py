"""Messages of training: they survive the wire, and what is none is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from cutlayer.cloud.service import Service
from cutlayer.errors import DecodeError, Refused
from cutlayer.split_folder import open_split
from cutlayer.wire import training_pb2
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.training import (
    CALLS,
    MOST_STEPS,
    Ask,
    Call,
    Reply,
    ask_message,
    packed,
    read_ask,
    read_reply,
    reply_message,
    unpacked,
)
from tests.cloud.callers import handle
from tests.tiny_split import write_split
from tests.wire.test_message import parameters, tensors, text

sessions = st.text(min_size=1, max_size=128)
steps = st.integers(0, MOST_STEPS - 1)
named = st.dictionaries(text, tensors, max_size=3)


@settings(max_examples=30)
@given(st.builds(Ask, st.sampled_from(Call), sessions, steps, parameters, named, steps))
def test_an_ask_survives_the_wire(ask):
    assert read_ask(ask_message(ask)) == ask


@settings(max_examples=30)
@given(st.builds(Reply, steps, parameters, named))
def test_a_reply_survives_the_wire(reply):
    message = reply_message(reply, Call.STEP)
    assert message.kind is Kind.STEP
    assert read_reply(message) == reply


def test_every_kind_of_training_has_a_method_and_a_number():
    methods = [method.name for method in training_pb2.DESCRIPTOR.services_by_name["Training"].methods]
    assert methods == [call.name.capitalize() for call in Call]
    assert [int(kind) for kind in CALLS] == list(range(16, 23))


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (Message(Kind.INFER, b""), "INFER asks nothing of a training server"),
        (Message(Kind.STEP, b"\xff"), "not a Ask message"),
        (ask_message(Ask(Call.STEP, "", 0)), "1 to 128 characters"),
        (ask_message(Ask(Call.STEP, "x" * 129, 0)), "1 to 128 characters"),
        (ask_message(Ask(Call.STEP, "s", MOST_STEPS)), "less than"),
        (ask_message(Ask(Call.STEP, "s", 0))._replace(tensors=(b"no description",)), "describes 0 tensors"),
        (Message(Kind.STEP, training_pb2.Ask(session="s" * (1 << 16)).SerializeToString()), "exceeds the limit"),
    ],
)
def test_what_is_no_ask_is_refused_with_a_sentence(message, sentence):
    with pytest.raises(DecodeError, match=sentence):
        read_ask(message)


def test_weights_survive_the_wire_with_all_their_types():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(4, 2, dtype=torch.bfloat16))
    state = model.state_dict() | {"empty": torch.empty(0, 2), "turned": torch.randn(3, 4).T}
    sent = packed(state)
    assert (sent.datatype, sent.shape) == ("UINT8", (len(sent.data),))
    read = unpacked(sent._replace(data=memoryview(sent.data)))
    assert list(read) == sorted(state) or read.keys() == state.keys()
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_tied_weights_are_sent_under_each_name():
    tied, whole = nn.Linear(3, 3), torch.arange(8.0)
    state = {"a.weight": tied.weight, "b.weight": tied.weight, "first": whole[:4], "last": whole[4:]}
    read = unpacked(packed(state))
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())
    read["a.weight"].data += 1
    assert torch.equal(read["b.weight"], tied.weight)


WEIGHTS = save({"w": torch.ones(2)})


@pytest.mark.parametrize(
    "encoded",
    [
        Encoded("UINT8", (4,), b"abcd"),
        Encoded("UINT8", (len(WEIGHTS) - 1,), WEIGHTS[:-1]),
        Encoded("UINT8", (len(WEIGHTS),), WEIGHTS.replace(b"F32", b"F99")),
        Encoded("UINT8", (len(WEIGHTS),), WEIGHTS, {"codec": "fp16"}),
        Encoded("UINT8", (1, len(WEIGHTS)), WEIGHTS),
        Encoded("FP32", (2,), bytes(8)),
    ],
)
def test_bytes_that_are_no_weights_are_refused(encoded):
    with pytest.raises(DecodeError, match=r"[Ww]eights|UINT8"):
        unpacked(encoded)


def test_a_server_of_inference_refuses_to_train(tmp_path):
    manifest = write_split(tmp_path)
    service = Service(manifest, open_split(tmp_path).tail(threads=1))
    with pytest.raises(Refused, match="does not train") as caught:
        handle(service, ask_message(Ask(Call.OPEN, "s", 0)))
    service.drain()
    assert caught.value.code == "UNIMPLEMENTED"
