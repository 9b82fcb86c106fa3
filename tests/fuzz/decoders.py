"""Every function that reads bytes from the network, with corrupted input: it reads the input or raises DecodeError."""

from __future__ import annotations

import faulthandler
import gc
from collections import Counter
from collections.abc import Callable

import psutil

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.handshake import read_error_reply, read_metadata_reply, read_metadata_request
from cutlayer.wire.message import Kind, Message, read_infer_reply, read_infer_request
from cutlayer.wire.protobuf import split
from cutlayer.wire.template import without_id
from cutlayer.wire.training import read_ask, read_reply, unpacked
from cutlayer.wire.zmq.frames import unpack
from tests.fuzz.mutate import (
    REPLY_FIELD,
    REQUEST_FIELD,
    Frames,
    asks,
    grpc_frames,
    mutants,
    replies,
    requests,
    training_replies,
    typed_request,
    zmq_frames,
)

HANG_S = 60
LONGEST_SENTENCE = 2000
"""An error message must not repeat its input; gRPC carries at most 8 KB."""

SPLIT = ("tiny@relu", "0" * 16, (3, 2, 6, 6))


def grpc_request(frames: Frames) -> None:
    _read(Message(Kind.INFER, *split(b"".join(frames), REQUEST_FIELD)[:2]))


def zmq_request(frames: Frames) -> None:
    _read(unpack(list(frames))[0])


def grpc_reply(frames: Frames) -> None:
    _read_reply(Message(Kind.INFER, *split(b"".join(frames), REPLY_FIELD)[:2]))


def zmq_reply(frames: Frames) -> None:
    _read_reply(unpack(list(frames))[0])


def grpc_ask(frames: Frames) -> None:
    _read_ask(Message(Kind.STEP, *split(b"".join(frames), REQUEST_FIELD)[:2]))


def zmq_ask(frames: Frames) -> None:
    _read_ask(unpack(list(frames))[0])


def grpc_training_reply(frames: Frames) -> None:
    _read_training_reply(Message(Kind.STEP, *split(b"".join(frames), REPLY_FIELD)[:2]))


def zmq_training_reply(frames: Frames) -> None:
    _read_training_reply(unpack(list(frames))[0])


def _read_ask(message: Message) -> None:
    for name, tensor in read_ask(message).tensors.items():
        (unpacked if name == "weights" else decode)(tensor)


def _read_training_reply(message: Message) -> None:
    for tensor in read_reply(message).tensors.values():
        decode(tensor)


def _read(message: Message) -> None:
    without_id(message.header)
    if message.kind is Kind.METADATA:
        read_metadata_request(message)
    elif message.kind is Kind.INFER:
        for tensor in read_infer_request(message).tensors.values():
            decode(tensor)


def _read_reply(message: Message) -> None:
    if message.kind is Kind.METADATA:
        read_metadata_reply(message)
    elif message.kind is Kind.ERROR:
        str(read_error_reply(message))
    else:
        for tensor in read_infer_reply(message).tensors.values():
            decode(tensor)


INFERENCES = [message for message in requests(*SPLIT) if message.kind is Kind.INFER]

TYPED = [typed_request(SPLIT[0], SPLIT[2])]

READERS: dict[str, tuple[Callable[[Frames], None], list[Frames]]] = {
    "gRPC requests": (grpc_request, [*grpc_frames(INFERENCES, REQUEST_FIELD), TYPED]),
    "ZeroMQ requests": (zmq_request, zmq_frames(requests(*SPLIT))),
    "gRPC replies": (grpc_reply, grpc_frames(replies((3, 3))[:1], REPLY_FIELD)),
    "ZeroMQ replies": (zmq_reply, zmq_frames(replies((3, 3)))),
    "gRPC asks": (grpc_ask, grpc_frames(asks(), REQUEST_FIELD)),
    "ZeroMQ asks": (zmq_ask, zmq_frames(asks())),
    "gRPC replies of training": (grpc_training_reply, grpc_frames(training_replies(), REPLY_FIELD)),
    "ZeroMQ replies of training": (zmq_training_reply, zmq_frames(training_replies())),
}


def fuzz(name: str, n: int, seed: int) -> Counter[str]:
    """Return how many frames were read, and how many refused.

    Raises:
        AssertionError: Another error than DecodeError, or a message that is too long; it shows the frames.
    """
    read, corpus = READERS[name]
    for valid in corpus:
        read(valid)
    outcomes: Counter[str] = Counter()
    for number, frames in enumerate(mutants(corpus, n, seed)):
        if number % 1000 == 0:
            faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            read(frames)
            outcomes["read"] += 1
        except DecodeError as error:
            outcomes["refused"] += 1
            if len(str(error)) > LONGEST_SENTENCE:
                raise AssertionError(f"{len(str(error))} characters in answer to {frames!r:.4000}") from error
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} for {frames!r:.4000}") from error
    faulthandler.cancel_dump_traceback_later()
    return outcomes


def resident_bytes() -> int:
    """Return the memory of this process after a garbage collection."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)
