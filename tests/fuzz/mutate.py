"""Frames that are almost messages: valid frames of every kind, corrupted at random from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors.numpy

from cutlayer.errors import ConfigError, Refused
from cutlayer.wire import open_inference_pb2 as pb
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.handshake import Metadata, error_reply, metadata_reply, metadata_request
from cutlayer.wire.message import Inference, Message, infer_reply, infer_request
from cutlayer.wire.protobuf import join
from cutlayer.wire.template import completed, timed
from cutlayer.wire.training import Ask, Call, Reply, ask_message, reply_message
from cutlayer.wire.zmq.frames import pack
from tests.wire.codecs.test_codecs import NAMES, PACKINGS

REQUEST_FIELD, REPLY_FIELD = 7, 6
EXTREMES = (0, 1, -1, 2, 127, 128, 255, 1 << 15, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, -(1 << 63))
WORDS = ("", "raw", "FP32", "INT8", "BOOL", "codec", "smashed", "\0", "é" * 40, "x" * 5000, "../../etc/passwd", "nan")

CODEC_NAMES = (*NAMES, *(f"{name}+{packing}" for name in NAMES for packing in ("+".join(PACKINGS), PACKINGS[-1])))

WEIGHTS = safetensors.numpy.save({"0.weight": np.ones((2, 3), np.float32), "0.bias": np.zeros(2, np.int64)})

Frames = list[bytes]


def requests(model: str, version: str, shape: tuple[int, ...], session: str = "fuzz") -> list[Message]:
    """Return requests that a server of this split answers, one for each codec, and handshakes."""
    messages = []
    smashed = np.maximum(np.random.default_rng(0).normal(size=shape), 0).astype(np.float32)
    for name in CODEC_NAMES:
        try:
            tensor = codec_named(name).encode(smashed)
        except ConfigError:
            continue  # a package is not installed
        parameters = {
            "protocol": 1,
            "defense": "none",
            **({"session": session, "secret": session * 8} if session else {}),
        }
        template = infer_request(Inference(model, version, "", {"smashed": tensor._replace(data=b"")}, parameters))
        messages.append(completed(template, f"fuzz-{name}", tensor.data))
    return [*messages, metadata_request(model, version), metadata_request(model, "")]


def typed_request(model: str, shape: tuple[int, ...]) -> bytes:
    """Return the request of a client that uses typed contents instead of raw ones."""
    request = pb.ModelInferRequest(model_name=model, id="typed")
    tensor = request.inputs.add(name="smashed", datatype="FP32", shape=shape)
    tensor.contents.fp32_contents.extend(np.ones(shape, np.float32).ravel().tolist())
    return request.SerializeToString()


def replies(shape: tuple[int, ...]) -> list[Message]:
    """Return the replies of a server, for the fuzzing of clients."""
    logits = Raw().encode(np.ones(shape, np.float32))
    metadata = Metadata("m@c", ("v",), {"smashed": ("FP32", (-1, 2, 3))}, {"logits": ("FP32", (-1, 3))})
    inference = infer_reply(Inference("m@c", "v", "id", {"logits": logits}))
    return [
        timed(inference, queue_ns=1, decode_ns=2, tail_ns=3, reply_ns=4),
        metadata_reply(metadata),
        error_reply(Refused("NOT_FOUND", "There is none.")),
    ]


def asks(session: str = "fuzz") -> list[Message]:
    """Return the asks of one session of training, with tensors and weights, and the first ones of four others."""
    smashed = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float32)
    weights = Encoded("UINT8", (len(WEIGHTS),), WEIGHTS, {"codec": "raw"})
    of = {Call.STEP: {"smashed": Raw().encode(smashed), "labels": Raw().encode(np.arange(3))}}
    of[Call.AGGREGATE] = {"weights": weights}
    parameters = {"client": 1, "secret": session * 8, "round": 1}
    others = [ask_message(Ask(Call.OPEN, f"{session} {n}", 0, parameters | {"client": n})) for n in range(2, 6)]
    return [
        *(ask_message(Ask(call, session, step, parameters, of.get(call, {}))) for step, call in enumerate(Call)),
        *others,
    ]


def training_replies() -> list[Message]:
    """Return replies of a server of training, for the fuzzing of clients."""
    gradient = {"gradient": Raw().encode(np.ones((3, 2, 4, 4), np.float32))}
    return [
        reply_message(Reply(3, {"loss": 0.5}, gradient), Call.STEP),
        reply_message(Reply(0, {"round": 2}), Call.OPEN),
        reply_message(Reply(4, {"wait": "client 2 has not come (since 3 s)."}), Call.TURN),
    ]


def grpc_frames(messages: list[Message], field: int) -> list[Frames]:
    """Return the messages as they cross HTTP/2: one piece each."""
    return [[join(message.header, message.tensors, field)] for message in messages]


def zmq_frames(messages: list[Message]) -> list[Frames]:
    """Return the messages as they cross ZeroMQ: prefix and header, then the tensors."""
    return [[bytes(part) for part in pack(message, 7)] for message in messages]


def mutants(corpus: list[Frames], n: int, seed: int) -> Iterator[Frames]:
    """Yield `n` frames: one in ten is noise, the others are copies of the corpus with one to three faults."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        if rng.random() < 0.1:
            yield [rng.bytes(int(rng.integers(0, 300))) for _ in range(int(rng.integers(1, 4)))]
            continue
        frames = list(corpus[rng.integers(len(corpus))])
        for _ in range(min(3, int(rng.geometric(0.6)))):
            _spoil(frames, corpus, rng)
        yield frames


def _spoil(frames: Frames, corpus: list[Frames], rng: np.random.Generator) -> None:
    kind = rng.random()
    which = int(rng.integers(len(frames))) if frames else 0
    if not frames or kind < 0.03:
        frames.append(rng.bytes(int(rng.integers(0, 40))))
    elif kind < 0.06:
        frames.pop(which)
    elif kind < 0.3:
        frames[which] = _described_wrongly(frames[which], rng)
    else:
        frames[which] = _bytes_spoiled(frames[which], corpus, rng)


def _bytes_spoiled(data: bytes, corpus: list[Frames], rng: np.random.Generator) -> bytes:
    # Half of the faults hit the first bytes, which hold prefix, tags and lengths.
    reach = len(data) if rng.random() < 0.5 else min(len(data), 120)
    at = int(rng.integers(reach + 1))
    length = int(rng.integers(1, 16))
    match int(rng.integers(6)):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + rng.bytes(length) + data[at:]
        case 2:
            return data[:at] + data[at + length :]
        case 3:
            return data[: at + length] + data[at:]
        case 4:
            other = corpus[rng.integers(len(corpus))]
            return data[:at] + other[rng.integers(len(other))][int(rng.integers(200)) :]
        case _:
            flipped = bytes((data[at] ^ 1 << int(rng.integers(8)),)) if at < len(data) else b"\xff"
            return data[:at] + flipped + data[at + 1 :]


def _described_wrongly(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a header that can be parsed, but has shapes, types, names or parameters of the wrong kind or size."""
    prefix = data[:12] if data[:2] == b"CL" else b""
    header = pb.ModelInferRequest()
    try:
        header.MergeFromString(data[len(prefix) :])
    except Exception:  # not a request; its bytes are corrupted elsewhere
        return data
    tensor = header.inputs[0] if header.inputs else header.inputs.add(name="smashed")
    match int(rng.integers(9)):
        case 0:
            tensor.shape[:] = [_extreme(rng) for _ in range(int(rng.integers(0, 12)))]
        case 1:
            tensor.shape.append(_extreme(rng))
        case 2:
            tensor.datatype = _word(rng)
        case 3:
            names = [*tensor.parameters, "codec", _word(rng)]
            _set(tensor.parameters[names[rng.integers(len(names))]], rng)
        case 4:
            _set(header.parameters[("protocol", "session", "secret", "defense", _word(rng))[rng.integers(5)]], rng)
        case 5:
            header.model_name = _word(rng)
        case 6:
            tensor.contents.fp32_contents.extend([0.5] * int(rng.integers(300)))
        case 7:
            tensor.contents.int64_contents.append(_extreme(rng))
        case _:
            header.inputs.add().CopyFrom(tensor)
    return prefix + header.SerializeToString()


def _set(parameter: Any, rng: np.random.Generator) -> None:
    match int(rng.integers(4)):
        case 0:
            parameter.int64_param = _extreme(rng)
        case 1:
            parameter.double_param = (float("nan"), float("inf"), -1.0, 1e308, 0.0)[rng.integers(5)]
        case 2:
            parameter.bool_param = True
        case _:
            parameter.string_param = (*CODEC_NAMES, *WORDS)[rng.integers(len(CODEC_NAMES) + len(WORDS))]


def _extreme(rng: np.random.Generator) -> int:
    return max(-(1 << 63), min((1 << 63) - 1, EXTREMES[rng.integers(len(EXTREMES))]))


def _word(rng: np.random.Generator) -> str:
    return WORDS[rng.integers(len(WORDS))]
