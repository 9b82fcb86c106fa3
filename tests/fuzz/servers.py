"""Corrupted frames for a server in another process: it answers each, does not grow, and still works."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

import grpc
import numpy as np
import psutil
import zmq

from cutlayer.cloud.training.service import Done, TrainingService
from cutlayer.edge.training.session import Session
from cutlayer.models.manifest import tail_name
from cutlayer.split_folder import open_split
from cutlayer.wire import open_inference_pb2 as pb
from cutlayer.wire.address import Address
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.grpc.frames import PATHS
from cutlayer.wire.handshake import read_error_reply
from cutlayer.wire.message import Kind
from cutlayer.wire.training import CALLS, Ask, Call, Reply, unpacked
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.zmq.frames import unpack
from tests.cloud_process import CloudProcess
from tests.fuzz.decoders import resident_bytes
from tests.fuzz.mutate import REQUEST_FIELD, Frames, asks, grpc_frames, mutants, requests, typed_request, zmq_frames
from tests.tiny_split import edge_at, images

PATIENCE_S = 20.0
ALLOWED_GROWTH_BYTES = 32 << 20

WINDOW = 8
"""Frames sent before their answers are read: less than ZeroMQ's queues hold, so that no answer is dropped."""

REASONS = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}
"""Codes with which a server may refuse a corrupted frame; an error in the server or a lack of capacity is none."""

TRAINING_REASONS = {*REASONS, "OUT_OF_RANGE", "PERMISSION_DENIED", "ALREADY_EXISTS", "CANCELLED"}
"""Those of a server of training: a frame may be another's, or not the next one."""


def over_zmq(
    address: Address, corpus: list[Frames], n: int, seed: int, reasons: Collection[str] = REASONS
) -> Counter[str]:
    """Send each frame as a message; each gets one answer."""
    outcomes: Counter[str] = Counter()
    with zmq.Context.instance().socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.connect(f"tcp://{address.netloc}")
        for window in _windows(mutants(corpus, n, seed)):
            for frames in window:
                stranger.send_multipart(frames or [b""])
            for _ in window:
                assert stranger.poll(PATIENCE_S * 1000), f"no answer to one of {window!r:.4000}"
                reply, _ = unpack(stranger.recv_multipart())
                outcome = read_error_reply(reply).code if reply.kind is Kind.ERROR else "answered"
                assert outcome in {"answered", *reasons}, f"{outcome} for one of {window!r:.4000}"
                outcomes[outcome] += 1
    return outcomes


def over_grpc(
    address: Address,
    corpus: list[Frames],
    n: int,
    seed: int,
    reasons: Collection[str] = REASONS,
    methods: Sequence[str] = (PATHS[Kind.INFER],),
) -> Counter[str]:
    """Send each frame by a call of its own, to one of the methods after the other."""
    outcomes: Counter[str] = Counter()
    with grpc.insecure_channel(address.netloc) as channel:
        calls = [channel.unary_unary(method) for method in methods]
        for number, frames in enumerate(mutants(corpus, n, seed)):
            outcome = "answered"
            try:
                calls[number % len(calls)](b"".join(frames), timeout=PATIENCE_S)
            except grpc.RpcError as error:
                outcome = error.code().name
            assert outcome in {"answered", *reasons}, f"{outcome} for {frames!r:.4000}"
            outcomes[outcome] += 1
    return outcomes


def over_grpc_stream(address: Address, corpus: list[Frames], n: int, seed: int) -> Counter[str]:
    """Send all frames in one call, which continues after corrupted ones."""
    outcomes: Counter[str] = Counter()
    with grpc.insecure_channel(address.netloc) as channel:
        outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(
            iter(outgoing.get, None), timeout=PATIENCE_S + n / 100
        )
        for window in _windows(mutants(corpus, n, seed)):
            for frames in window:
                outgoing.put(b"".join(frames))
            for _ in window:
                reply = pb.ModelStreamInferResponse.FromString(next(call))
                outcomes["refused" if reply.error_message else "answered"] += 1
        outgoing.put(None)
        assert not list(call), "more answers than requests"
    return outcomes


def over_tcp(address: Address, n: int, seed: int) -> None:
    """Open connections that send noise, some after a valid beginning."""
    rng = np.random.default_rng(seed)
    zmtp = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    greetings = (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), zmtp)
    for number in range(n):
        with (
            contextlib.suppress(OSError),
            socket.create_connection((address.host, address.port), PATIENCE_S) as stranger,
        ):
            stranger.sendall(greetings[number % len(greetings)] + rng.bytes(int(rng.integers(0, 5000))))


FUZZERS: dict[str, tuple[Callable[[Address, list[Frames], int, int], Counter[str]], ...]] = {
    "zmq": (over_zmq,),
    "grpc": (over_grpc, over_grpc_stream),
}


def bombard(folder: Path, transport: str, n: int, seed: int) -> dict[str, Counter[str]]:
    """Send n frames to a server of this transport in each way, and open a tenth as many corrupted connections.

    Returns:
        Outcomes of the frames, by the way in which they were sent.

    Raises:
        AssertionError: A frame got a wrong answer or none, the server grew, or no longer works.
    """
    manifest = open_split(folder).manifest
    split = (tail_name(manifest), manifest.version, (3, *manifest.smashed.shape))
    # Without a session no answer is kept, so that every frame is read.
    messages = [message for session in ("", "fuzz") for message in requests(*split, session=session)]
    if transport == "grpc":
        corpus = grpc_frames([message for message in messages if message.kind is Kind.INFER], REQUEST_FIELD)
        corpus.append([typed_request(split[0], split[2])])
    else:
        corpus = zmq_frames(messages)
    outcomes = {}
    with CloudProcess(folder, f"{transport}://127.0.0.1:0") as cloud:
        before, address = _logits(folder, cloud), Address.parse(cloud.address)
        server = psutil.Process(cloud.pid)
        for fuzzer in FUZZERS[transport]:
            # Caches and pools fill with the first tenth.
            fuzzer(address, corpus, n // 10, seed + 1)
            over_tcp(address, n // 100, seed + 1)
            small = server.memory_info().rss
            outcomes[fuzzer.__name__] = fuzzer(address, corpus, n, seed)
            over_tcp(address, n // 10, seed)
            grown = server.memory_info().rss - small
            assert grown < ALLOWED_GROWTH_BYTES, f"the server grew by {grown:,} bytes in {n:,} frames"
        np.testing.assert_array_equal(_logits(folder, cloud), before)
        assert cloud.stop() == 0
        assert "Traceback" not in cloud.errors, cloud.errors
    return outcomes


class _Adding:
    """A coordinator that replies at once."""

    gone = awaited = ()

    def take(self, ask: Ask, done: Done) -> None:
        for name, tensor in ask.tensors.items():
            (unpacked if name == "weights" else decode)(tensor)
        done(Reply(0, {"round": 0}))

    def waiting(self, session: str) -> str:
        return "nobody is waited for"

    def close(self) -> None:
        """Do nothing."""


def bombard_training(transport: str, n: int, seed: int) -> Counter[str]:
    """Send n frames to a server of training in this process, and return their outcomes.

    Raises:
        AssertionError: A frame got a wrong answer or none, this process grew, or a client is no longer served.
    """
    service = TrainingService(_Adding)
    with contextlib.closing(listen(f"{transport}://127.0.0.1:0", service)) as server:
        if transport == "grpc":
            # Frames do not say for which method they are, and a session begins with Open.
            corpus = grpc_frames(asks(), REQUEST_FIELD)
            methods = [path for kind in CALLS for path in (PATHS[Kind.OPEN], PATHS[kind])]
            fuzzer = partial(over_grpc, reasons=TRAINING_REASONS, methods=methods)
        else:
            corpus, fuzzer = zmq_frames(asks()), partial(over_zmq, reasons=TRAINING_REASONS)
        fuzzer(server.address, corpus, n // 10, seed + 1)
        small = resident_bytes()
        outcomes = fuzzer(server.address, corpus, n, seed)
        grown = resident_bytes() - small
        assert grown < ALLOWED_GROWTH_BYTES, f"the server grew by {grown:,} bytes in {n:,} frames"
        with contextlib.closing(connect(str(server.address))) as client:
            session = Session(client)
            session.ask(Call.OPEN, {"client": 99})
            assert session.ask(Call.CLOSE).step == 1
    service.drain(0)
    return outcomes


def _logits(folder: Path, cloud: CloudProcess) -> np.ndarray:
    client = connect(cloud.address, Timeouts(request_s=PATIENCE_S))
    try:
        return edge_at(folder, client).infer(images(2), 0)[0]
    finally:
        client.close()


def _windows(frames: Iterator[Frames]) -> Iterator[list[Frames]]:
    while window := list(islice(frames, WINDOW)):
        yield window
