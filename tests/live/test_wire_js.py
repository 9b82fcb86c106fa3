"""The wire in JavaScript beside the wire in Python: equal bytes, and the same refusals of damaged ones."""

import numpy as np
import pytest

from cutlayer.errors import DecodeError, Refused
from cutlayer.live import gateway
from cutlayer.wire import open_inference_pb2
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.handshake import error_reply, metadata_request
from cutlayer.wire.message import Inference, Kind, Message, infer_reply, infer_request, read_infer_request
from cutlayer.wire.template import completed, timed
from cutlayer.wire.zmq.frames import pack, unpack
from tests.live.javascript import javascript

PARAMETERS = {
    "protocol": 1, "session": "phone-0a1b", "secret": "5" * 32, "defense": "gaussian-noise sigma=0.5",
    "truth": True, "lie": False, "minus": -1, "half": 0.5, "empty": "", "große": "Straße ✓", "most": 2**53 - 1,
}  # fmt: skip


def request(parameters, tensor, id="phone-0a1b-7", model="lenet@relu1", version="0123456789abcdef"):
    return infer_request(Inference(model, version, id, {"smashed": tensor}, parameters))


def test_the_header_of_a_request_is_that_of_python_byte_by_byte():
    tensors = [
        codec_named(codec).encode(np.ones((1, 6, 14, 300), np.float32))
        for codec in ("raw", "fp16", "int8", "int4", "top-k")
    ]
    asked = {"model": "lenet@relu1", "version": "0123456789abcdef", "id": "phone-0a1b-7", "values": PARAMETERS}
    headers = javascript(
        ["wire"],
        "return given[1].map((tensor) => wire.inferRequest({ ...given[0], tensor }))",
        [
            asked,
            [{"datatype": t.datatype, "shape": t.shape, "parameters": dict(t.parameters)} for t in tensors],
        ],
    )
    for tensor, written in zip(tensors, headers, strict=True):
        message = request(PARAMETERS, tensor, id="")
        header = open_inference_pb2.ModelInferRequest.FromString(message.header)
        # Protobuf promises an order of a map's entries only when it is asked for one.
        template = message._replace(header=header.SerializeToString(deterministic=True))
        assert written == completed(template, "phone-0a1b-7").header
        read = read_infer_request(Message(Kind.INFER, written, (tensor.data,)))
        assert read == read_infer_request(request(PARAMETERS, tensor))


def test_the_handshake_is_that_of_python():
    written = javascript(["wire"], "return wire.metadataRequest(...given)", ["lenet@relu1", "0123456789abcdef"])
    assert written == metadata_request("lenet@relu1", "0123456789abcdef").header


def test_both_sides_frame_a_message_alike():
    header, tensors, correlation = b"head", (b"", b"\x00" * 5, bytes(range(256))), 2**53 - 1
    framed = gateway.join(pack(Message(Kind.INFER, header, tensors), correlation))
    written = javascript(["wire"], "return wire.pack(1, given[0], given[1], given[2])", [correlation, header, tensors])
    assert written == framed
    read, back = unpack(gateway.split(written))
    assert (read.kind, read.header, tuple(map(bytes, read.tensors)), back) == (1, header, tensors, correlation)
    kind, *rest = javascript(
        ["wire"], "const r = wire.unpack(given); return [r.kind, r.correlation, r.header, r.tensors]", framed
    )
    assert (kind, rest) == (1, [correlation, header, list(tensors)])


def test_an_answer_is_read_with_its_durations():
    logits = np.array([[0.5, -2, 7]], "<f4")
    output = Encoded("FP32", logits.shape, logits.tobytes(), {"codec": "raw"})
    reply = timed(infer_reply(Inference("lenet@relu1", "0" * 16, "phone-1-2", {"logits": output})), 1, 2, 30_000_000, 4)
    read = javascript(
        ["wire"],
        "const m = wire.unpack(given);"
        "return { ...wire.readInferReply(m.header), correlation: m.correlation, logits: [...floats(m.tensors[0])] }",
        gateway.join(pack(reply, 9)),
    )
    assert read["parameters"] == {"queue_ns": 1, "decode_ns": 2, "tail_ns": 30_000_000, "reply_ns": 4}
    assert (read["id"], read["correlation"], read["logits"]) == ("phone-1-2", 9, [0.5, -2, 7])
    assert read["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [1, 3], "parameters": {"codec": "raw"}},
    ]


def test_a_refusal_is_read_with_its_sentence():
    refused = Refused("RESOURCE_EXHAUSTED", "The server is busy; retry later.", 300)
    read = javascript(
        ["wire"],
        "const { error } = wire.unpack(given); return [error.code, error.message, error.retryAfterMs]",
        gateway.join(pack(error_reply(refused), 3)),
    )
    assert read == ["RESOURCE_EXHAUSTED", "The server is busy; retry later.", 300]


def damaged(message, n, rng):
    """The message, with one to three bytes changed, cut off, put in or made long."""
    out = []
    for _ in range(n):
        bytes_ = bytearray(message)
        for _ in range(rng.integers(1, 4)):
            at, what = int(rng.integers(len(bytes_) + 1)), rng.integers(4)
            if what == 0 and at < len(bytes_):
                bytes_[at] = int(rng.integers(256))
            elif what == 1:
                del bytes_[at:]
            elif what == 2:
                bytes_[at:at] = rng.bytes(int(rng.integers(1, 9)))
            elif at < len(bytes_):
                bytes_[at] |= 0x80
        out.append(bytes(bytes_))
    return out


def test_damaged_answers_raise_errors_of_the_protocol_or_are_read():
    """No other error, and no endless loop: 4,000 damaged answers and refusals."""
    logits = np.zeros((1, 10), "<f4")
    output = Encoded("FP32", logits.shape, logits.tobytes(), {"codec": "raw"})
    reply = timed(infer_reply(Inference("m", "0" * 16, "s-1", {"logits": output})), 1, 2, 3, 4)
    rng = np.random.default_rng(0)
    messages = [
        mutated
        for sound in (pack(reply, 9), pack(error_reply(Refused("INTERNAL", "It failed.")), 9))
        for mutated in damaged(gateway.join(sound), 2000, rng)
    ]
    outcomes = javascript(
        ["wire"],
        """
        const counts = { read: 0, refused: 0 };
        for (const message of given) {
          try {
            const found = wire.unpack(message);
            if (!found.error) wire.readInferReply(found.header);
            counts.read++;
          } catch (error) {
            if (!(error instanceof wire.DecodeError)) throw error;
            counts.refused++;
          }
        }
        return counts;
        """,
        messages,
    )
    assert sum(outcomes.values()) == len(messages)
    assert min(outcomes.values()) > 100


def test_lengths_that_do_not_fit_are_refused_on_both_sides():
    messages = [b"\x01", b"\x05\x00\x00\x00abc", b"\xff\xff\xff\xffabc", b"\x00\x00\x00\x00" * 18]
    for message in messages:
        with pytest.raises(DecodeError):
            gateway.split(message)
    thrown = javascript(
        ["wire"],
        "return given.map((m) => { try { wire.unpack(m) } catch (error) { return error.constructor.name } })",
        messages,
    )
    assert thrown == ["DecodeError"] * len(messages)
