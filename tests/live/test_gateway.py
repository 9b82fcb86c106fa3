"""The WebSocket of phones: the same answers, checks and refusals as on the other transports."""

import base64
import json
import struct
import threading
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from cutlayer.cloud.admission import Limits
from cutlayer.cloud.service import Service
from cutlayer.data.documentation import LENGTH
from cutlayer.edge.wishes import Wish
from cutlayer.errors import DecodeError, Refused
from cutlayer.live import gateway
from cutlayer.live.device import Picture
from cutlayer.models.manifest import tail_name
from cutlayer.sequences import PAD
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named, decode
from cutlayer.wire.handshake import read_error_reply
from cutlayer.wire.message import Inference, Kind, infer_request, read_infer_reply
from cutlayer.wire.peer import Peer
from cutlayer.wire.zmq.frames import pack, unpack
from tests.fuzz.decoders import resident_bytes
from tests.fuzz.mutate import mutants, requests, zmq_frames
from tests.fuzz.servers import ALLOWED_GROWTH_BYTES, REASONS
from tests.live.open_app import open_app
from tests.text_split import write_text_split
from tests.tiny_split import images, write_split

WAIT_S = 20.0
WIDTH = 12
"""Numbers of a token."""
SESSION = "phone-0a1b"


@pytest.fixture
def room(tmp_path):
    with open_app(tmp_path) as opened:
        yield opened


def introduction(room, **changes):
    said = {"token": room.tokens.join, "name": "a phone", "kind": "phone", "session": SESSION}
    return said | {"share_original": False, "allows": ["gaussian-noise", "top-k"]} | changes


class Phone:
    """One connection to the gateway."""

    def __init__(self, room, **options):
        self._open = ExitStack()
        address = f"ws://{room.netloc}/device/ws"
        self.socket = self._open.enter_context(connect(address, max_size=None, open_timeout=WAIT_S, **options))

    def close(self):
        self._open.close()

    def say(self, **message):
        self.socket.send(json.dumps(message))

    def hear(self, kind):
        """The next text of this kind."""
        while True:
            received = self.socket.recv(timeout=WAIT_S)
            if isinstance(received, str) and (message := json.loads(received))["type"] == kind:
                return message

    def answer(self):
        while True:
            received = self.socket.recv(timeout=WAIT_S)
            if isinstance(received, bytes):
                return unpack(gateway.split(received))

    def denied(self):
        """What the room denies, and the code with which it then closes the connection."""
        told = self.hear("denied")
        with pytest.raises(ConnectionClosed):
            self.socket.recv(timeout=WAIT_S)
        self.close()
        return told, self.socket.close_code


def joined(room, **changes):
    phone = Phone(room)
    phone.say(**introduction(room, **changes))
    return phone, phone.hear("joined")


def taken(room):
    """The frame that has arrived, of which the room may learn just after the answer has left."""
    end, pause = time.monotonic() + WAIT_S, threading.Event()
    while not (frames := room.room.take()):
        assert time.monotonic() < end
        pause.wait(0.01)
    [waiting] = frames
    return waiting


def request(split, smashed, number, codec="raw", defense="none"):
    manifest = split.manifest
    parameters = {"protocol": 1, "session": SESSION, "secret": "s" * 32, "defense": defense}
    tensor = codec_named(codec).encode(smashed)
    return infer_request(
        Inference(tail_name(manifest), manifest.version, f"{SESSION}-{number}", {"smashed": tensor}, parameters)
    )


def framed(message, correlation):
    return gateway.join(pack(message, correlation))


@pytest.mark.parametrize("codec", ["raw", "fp16", "int8", "int4", "top-k"])
def test_a_phone_gets_the_logits_that_the_tail_gives(room, codec):
    phone, _ = joined(room)
    split = room.split
    smashed = split.head()(images(3))
    for number, one in enumerate(smashed):
        message = request(split, one[None], number, codec)
        phone.socket.send(framed(message, 70 + number))
        reply, correlation = phone.answer()
        assert correlation == 70 + number
        answer = read_infer_reply(reply)
        assert answer.id == f"{SESSION}-{number}"
        sent = decode(codec_named(codec).encode(one[None]))
        np.testing.assert_array_equal(decode(answer.tensors["logits"]), split.tail()(sent))
    phone.close()


def test_the_room_sees_the_frames_of_a_phone(room):
    phone, welcome = joined(room)
    smashed = room.split.head()(images(1))
    phone.socket.send(framed(request(room.split, smashed, 5, defense="gaussian-noise sigma=0.5"), 1))
    phone.answer()
    phone.say(type="status", stages_ns={"head": 5}, bytes=288, end_to_end_ns=7_000_000, frame=5, refused=None)
    phone.say(type="original", frame=5, data="")
    phone.hear("denied")  # so that the status has been read
    waiting = taken(room)
    assert (waiting.device, waiting.frame.number, waiting.original) == (welcome["id"], 5, None)
    np.testing.assert_array_equal(waiting.frame.smashed, smashed)
    assert waiting.frame.wish == Wish("gaussian-noise", {"sigma": 0.5})
    [device] = [m for m in room.room.messages({}) if m["type"] == "device"]
    assert (device["kind"], device["connected"], device["end_to_end_ms"]) == ("phone", True, 7)
    assert device["prediction"]["label"] in ("zero", "one", "two")
    phone.close()


def test_a_phone_is_told_what_it_has_to_know_of_the_split(tmp_path):
    stated = {"name": "top-k", "sparsity": 0.5, "then": {"name": "gaussian-noise", "sigma": 0.25}}
    with open_app(tmp_path, defense=stated) as room:
        phone, welcome = joined(room)
        manifest = room.split.manifest
        assert (welcome["model"], welcome["version"]) == (tail_name(manifest), manifest.version)
        assert (welcome["input"], welcome["smashed"]) == ([1, 6, 6], [2, 6, 6])
        assert welcome["labels"] == ["zero", "one", "two"]
        first, second = welcome["defenses"]
        assert (first["defense"], first["options"]) == ("top-k", {"sparsity": 0.5, "epochs": 0})
        assert (second["defense"], second["options"]["sigma"]) == ("gaussian-noise", 0.25)
        phone.close()


def test_wishes_reach_a_phone_at_once(room):
    phone, welcome = joined(room)
    for number, sigma in enumerate((0.5, 2.0), 1):
        room.room.wish(welcome["id"], Wish("gaussian-noise", {"sigma": sigma}))
        told = phone.hear("wish")
        assert (told["number"], told["wish"]["options"]) == (number, {"sigma": sigma})
    phone.close()


def test_an_original_is_taken_only_from_a_phone_that_shares(room):
    pixels = bytes(range(36))
    phone, welcome = joined(room)
    send = partial(phone.say, type="original", frame=0, data=base64.b64encode(pixels).decode())
    send()
    assert phone.hear("denied")["status"] == 403
    changed = introduction(room, share_original=True)
    del changed["token"]
    phone.say(type="join", **changed)
    assert phone.hear("joined")["id"] == welcome["id"]
    send()
    phone.socket.send(framed(request(room.split, room.split.head()(images(1)), 0), 1))
    phone.answer()
    waiting = taken(room)
    assert waiting.original.tobytes() == pixels
    phone.say(type="join", **changed | {"share_original": False})
    phone.hear("joined")
    send()
    assert phone.hear("denied")["status"] == 403
    # The attackers may still work on a frame whose original was shared.
    room.room.show(welcome["id"], Picture(0, "data:image/png;base64,", (), None))
    [shown] = [message for message in room.room.messages({}) if message["type"] == "frame"]
    assert shown["original"] is None
    phone.close()


def test_a_phone_that_leaves_is_shown_as_gone_and_comes_back_as_the_same(room):
    phone, welcome = joined(room)
    phone.close()
    settled = threading.Event()
    room.room.listen(settled.set)
    while room.room._devices[welcome["id"]].connected:
        settled.wait(WAIT_S)
        settled.clear()
    phone, again = joined(room)
    assert again["id"] == welcome["id"]
    phone.close()


@pytest.mark.parametrize(
    ("first", "status", "code", "words"),
    [
        ({"token": "x" * 32}, 401, 4401, "scan the code"),
        ({"token": None}, 401, 4401, "scan the code"),
        ({"kind": "python"}, 400, 4400, "POST /device"),
        ({"name": ""}, 400, 4400, "1 to 40 letters"),
        ({"session": "ü"}, 400, 4400, "ASCII"),
        ({"allows": "all"}, 400, 4400, "list"),
        ({"more": "x" * gateway.MOST_TEXT_BYTES}, 400, 4400, "at most"),
    ],
)
def test_who_cannot_join_is_told_why(room, first, status, code, words):
    phone = Phone(room)
    phone.say(**introduction(room, **first))
    told, closed = phone.denied()
    assert (told["status"], closed) == (status, code)
    assert words in told["sentence"]
    assert room.tokens.join not in told["sentence"]


@pytest.mark.parametrize("first", ["{", "[1]", '"' + "[" * 9000, b"\x00\x01"])
def test_a_first_message_that_is_none_is_refused(room, first):
    phone = Phone(room)
    phone.socket.send(first)
    assert phone.denied()[1] == 4400


def test_a_phone_that_says_nothing_is_sent_away(room, monkeypatch):
    monkeypatch.setattr(gateway, "GREETING_S", 0.05)
    told, code = Phone(room).denied()
    assert (told["status"], code) == (408, 4400)


def test_a_page_of_another_server_does_not_get_in(room):
    for origin in ("https://evil.example", "http://127.0.0.1:1", "null"):
        with pytest.raises(InvalidStatus) as refused:
            Phone(room, origin=origin)
        assert refused.value.response.status_code == 403
    phone = Phone(room, origin=f"http://{room.netloc}")
    phone.say(**introduction(room))
    phone.hear("joined")
    phone.close()


def test_one_phone_more_than_allowed_is_refused(tmp_path):
    with open_app(tmp_path, most_devices=2) as room:
        phones = [joined(room, session=f"phone-{i}", name=f"phone {i}")[0] for i in range(2)]
        third = Phone(room)
        third.say(**introduction(room, session="phone-3", name="phone 3"))
        told, code = third.denied()
        assert (told["status"], code) == (429, 4429)
        assert "--most-devices" in told["sentence"]
        for phone in phones:
            phone.close()


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '{"type": "fly"}', '{"type": "status", "bytes": -1}', '{"type": "join", "kind": "python"}',
        '{"type": "original", "frame": true, "data": ""}', '{"type": "original", "frame": 1, "data": "*"}',
        json.dumps({"type": "status", "x": "y" * 20_000}),
    ],
)  # fmt: skip
def test_a_text_that_means_nothing_ends_the_connection_with_a_sentence(room, text):
    phone, _ = joined(room)
    phone.socket.send(text)
    told, code = phone.denied()
    assert (told["status"], code) == (400, 4400)


def test_a_message_over_the_limit_ends_the_connection(room):
    phone, _ = joined(room)
    phone.socket.send(bytes(gateway.MOST_BYTES + 1))
    with pytest.raises(ConnectionClosed):
        phone.answer()
    assert phone.socket.close_code == 1009


def test_a_text_that_means_nothing_right_after_the_greeting_ends_the_connection_too(room):
    for _ in range(5):
        phone = Phone(room)
        phone.say(**introduction(room))
        phone.say(type="fly")
        assert phone.denied()[1] == 4400


def test_a_room_that_closes_says_so(tmp_path):
    with open_app(tmp_path) as room:
        phone, _ = joined(room)
    with pytest.raises(ConnectionClosed):
        phone.hear("nothing")
    assert phone.socket.close_code in (1001, 1012)


class Silent:
    """A service that takes requests and answers none until it is told to."""

    ready = True

    def __init__(self):
        self.callers, self.arrived = [], threading.Semaphore(0)

    def submit(self, request, arrived_ns, caller, *, lend=False):
        self.callers.append(caller)
        self.arrived.release()


def test_what_is_more_than_a_few_requests_at_a_time_is_refused_until_one_is_answered(tmp_path):
    service = Silent()
    with open_app(tmp_path, handler=service) as room:
        phone, _ = joined(room)
        message = framed(request(room.split, room.split.head()(images(1)), 0), 1)
        for _ in range(gateway.MOST_UNANSWERED):
            phone.socket.send(message)
            assert service.arrived.acquire(timeout=WAIT_S)
        phone.socket.send(message)
        assert read_error_reply(phone.answer()[0]).code == "RESOURCE_EXHAUSTED"
        sent = threading.Event()
        service.callers[0].answer(Refused("INTERNAL", "It failed."), sent.set)
        assert read_error_reply(phone.answer()[0]).code == "INTERNAL"
        assert sent.wait(WAIT_S)
        phone.socket.send(message)
        assert service.arrived.acquire(timeout=WAIT_S), "an answer makes room for the next request"
        caller = service.callers[-1]
        assert not caller.gone()
        phone.close()
        end, told = time.monotonic() + WAIT_S, threading.Event()
        while not caller.gone() and time.monotonic() < end:
            told.wait(0.01)
        caller.answer(Refused("INTERNAL", "Late."), told.set)
        assert told.wait(WAIT_S), "whoever answers a phone that has left learns that at once"


def test_a_phone_that_reads_no_answers_is_sent_away(tmp_path):
    service = Silent()
    with open_app(tmp_path, handler=service) as room:
        phone, _ = joined(room)
        message = framed(request(room.split, room.split.head()(images(1)), 0), 1)
        phone.socket.send(message)
        assert service.arrived.acquire(timeout=WAIT_S)
        gateway_phone = service.callers[0].peer.connection
        # As if the network took nothing more: what is said before stays unread.
        gateway_phone._unanswered = gateway.MOST_UNREAD
        phone.socket.send(message)
        assert phone.denied()[1] == 4400


@pytest.mark.parametrize(
    "message",
    [b"\x01", struct.pack("<I", 5) + b"abc", struct.pack("<I", (1 << 32) - 1), struct.pack("<I", 0) * 18],
)
def test_lengths_that_do_not_fit_are_refused_and_the_connection_goes_on(room, message):
    with pytest.raises(DecodeError):
        gateway.split(message)
    phone, _ = joined(room)
    phone.socket.send(message)
    reply, correlation = phone.answer()
    assert (read_error_reply(reply).code, correlation) == ("INVALID_ARGUMENT", 0)
    phone.socket.send(framed(request(room.split, room.split.head()(images(1)), 0), 3))
    assert phone.answer()[1] == 3
    phone.close()


def corrupted(split, n, seed):
    """Messages of a phone that are nearly right: damaged parts well framed, and damage anywhere in what is framed."""
    shape = (1, 5, WIDTH) if split.manifest.sequence else (1, *split.manifest.smashed.shape)
    sound = zmq_frames(requests(tail_name(split.manifest), split.manifest.version, shape))
    for frames in mutants(sound, n // 2, seed):
        yield gateway.join(frames)
    for frames in mutants([[gateway.join(frames)] for frames in sound], n - n // 2, seed + 1):
        yield b"".join(frames)


@pytest.mark.parametrize(("write", "n"), [(write_split, 10_000), (partial(write_text_split, width=WIDTH), 2000)])
def test_thousands_of_damaged_messages_get_one_answer_each_and_memory_does_not_grow(tmp_path, write, n):
    """The messages are of pictures, and of sentences, which have as many rows as tokens."""
    write(tmp_path)
    split = open_split(tmp_path)
    service = Service(split.manifest, split.tail(threads=1), limits=Limits(8, 0, 64 << 20, 4))
    outcomes, answered = Counter(), threading.Semaphore(0)

    def send(correlation, reply, sent):
        outcomes[reply.code if isinstance(reply, Refused) else "answered"] += 1
        sent()
        answered.release()

    def bombard(n, seed):
        for message in corrupted(split, n, seed):
            gateway.take(message, service, Peer("phone"), lambda: False, send)
            assert answered.acquire(timeout=WAIT_S), f"no answer to {message!r:.2000}"

    bombard(1000, 1)
    small = resident_bytes()
    bombard(n - 1000, 3)
    assert resident_bytes() - small < ALLOWED_GROWTH_BYTES
    assert outcomes.keys() <= {"answered", *REASONS}, outcomes
    assert outcomes.total() == n
    assert min(outcomes["answered"], outcomes["INVALID_ARGUMENT"]) > n / 20, outcomes
    service.drain(1.0)


def test_sentences_of_a_phone_have_their_own_length_and_no_other_shape(tmp_path):
    write_text_split(tmp_path, width=WIDTH)
    with open_app(tmp_path) as room:
        phone, welcome = joined(room, share_original=True)
        told, split = welcome["text"], room.split
        assert told["shift"] == split.tokenizer.shift == 0
        texts = [text for text, _ in told["probes"]]
        ids = split.tokenizer.ids(texts, LENGTH)
        assert [own for _, own in told["probes"]] == [[int(i) for i in row if i != PAD] for row in ids]
        for number, length in enumerate((1, 7, LENGTH)):
            smashed = split.head()(np.arange(1, length + 1)[None])
            phone.socket.send(framed(request(split, smashed, number), number))
            answer = decode(read_infer_reply(phone.answer()[0]).tensors["logits"])
            np.testing.assert_allclose(answer, split.tail()(smashed), rtol=1e-5)
        for shape in ((1, LENGTH + 1, WIDTH), (1, 3, WIDTH + 1), (1, WIDTH), (1, 0, WIDTH), (5, 3, WIDTH)):
            phone.socket.send(framed(request(split, np.ones(shape, np.float32), 9), 9))
            reply, _ = phone.answer()
            assert reply.kind is Kind.ERROR, shape
            assert read_error_reply(reply).code in REASONS, shape
        for data in (b"", b"abc", np.full(1, 1 << 20, "<i4").tobytes(), np.ones(LENGTH + 1, "<i4").tobytes()):
            other, _ = joined(room, share_original=True, session="other", name="other")
            other.say(type="original", frame=1, data=base64.b64encode(data).decode())
            assert other.denied()[1] == 4400, data
        phone.close()


def test_damaged_messages_over_the_socket_leave_the_room_as_it_was(room):
    phone, _ = joined(room)
    n = 400
    for message in corrupted(room.split, n, 5):
        phone.socket.send(message)
        reply, _ = phone.answer()
        assert reply.kind is not Kind.ERROR or read_error_reply(reply).code in REASONS
    smashed = room.split.head()(images(1))
    phone.socket.send(framed(request(room.split, smashed, 10**6), 9))
    reply, correlation = phone.answer()
    assert correlation == 9
    np.testing.assert_array_equal(decode(read_infer_reply(reply).tensors["logits"]), room.split.tail()(smashed))
    phone.close()
