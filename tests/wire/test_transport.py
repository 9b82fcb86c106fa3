import socket
import threading
from typing import NamedTuple

import grpc
import pytest
import zmq

from cutlayer.errors import (
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    DecodeError,
    Refused,
    Unreachable,
    WireError,
)
from cutlayer.registry import TRANSPORTS
from cutlayer.wire.address import Address
from cutlayer.wire.connect import connect, listen, servable
from cutlayer.wire.inprocess import InProcess
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.retry import Retry
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts, refusal
from cutlayer.wire.zmq.frames import PREFIX


class Row(NamedTuple):
    """Address at which a test listens, if a server of the transport can."""

    address: str


ROWS = {
    "grpc": Row("grpc://127.0.0.1:0"),
    "zmq": Row("zmq://127.0.0.1:0"),
    "oip+grpc": Row("oip+grpc://127.0.0.1:0/echo"),
    "inprocess": Row("inprocess://echo"),
}

SERVED = [name for name in TRANSPORTS if TRANSPORTS.make(name).server]
SOON = Timeouts(connect_s=0.5, request_s=10.0)


class Echo:
    """Answers with the request itself; waits or fails if the id in the header says so."""

    def __init__(self):
        self.after, self.go_on, self.seen = [], threading.Event(), threading.Event()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        try:
            answer = self.handle(request)
        except Exception as error:
            answer = refusal(error)
        caller.answer(answer, lambda: self.after.append(request.header))

    def handle(self, request):
        self.seen.set()
        request_id = request.header[2:]
        if request_id == b"wait":
            self.go_on.wait(10)
        if request_id == b"refuse":
            raise Refused("NOT_FOUND", "There is none.")
        if request_id == b"garbled":
            raise DecodeError("Not a message.")
        if request_id == b"fail":
            raise ZeroDivisionError("a secret of the server")
        return Message(request.kind, request.header, tuple(bytes(t) for t in request.tensors))


@pytest.fixture
def serve():
    """A function that serves an Echo at an address and connects to it; everything is closed afterwards."""
    opened = []

    def start(address):
        echo = Echo()
        server = listen(address, echo, SOON)
        client = connect(str(server.address), SOON)
        opened.extend((client, server))
        return echo, server, client

    yield start
    for end in opened:
        end.close()


def header(request_id=b""):
    """A protobuf message with an id: its tag, a length, the text; empty without an id."""
    return b"\x1a%c%b" % (len(request_id), request_id) if request_id else b""


def ask(client, request_id=b"", tensors=(), timeout_s=10.0):
    return client.request(Message(Kind.INFER, header(request_id), tensors), timeout_s)


def test_every_transport_has_a_row():
    assert ROWS.keys() == set(TRANSPORTS)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_transport_is_described_before_its_package_is_imported(transport):
    scheme, address = TRANSPORTS.make(transport), Address.parse(ROWS[transport].address)
    assert address.local is not scheme.networked
    assert bool(address.model) is scheme.takes_model
    assert str(address) == ROWS[transport].address
    assert TRANSPORTS.summary(transport)
    assert set(scheme.encrypted_by) <= set(scheme.files)
    scheme.client = "no_such_package:Client"
    with pytest.raises(ConfigError, match=f"needs the package {scheme.package}"):
        scheme.connect(address, SOON, PLAIN)


@pytest.mark.parametrize("transport", sorted(set(TRANSPORTS) - set(SERVED)))
def test_a_transport_without_a_server_says_where_to_listen(transport):
    with pytest.raises(ConfigError, match="for clients only; listen at"):
        listen(ROWS[transport].address, Echo(), SOON)


def test_a_new_transport_is_one_line_of_the_registry(serve, monkeypatch):
    monkeypatch.setitem(TRANSPORTS._entries, "pigeon", "tests.wire.test_transport:Pigeon")
    _, server, client = serve("pigeon://loft")
    assert str(server.address) == "pigeon://loft"
    assert ask(client, b"hi").header == header(b"hi")


class Pigeon(InProcess):
    """A transport of these tests."""


@pytest.mark.parametrize("transport", SERVED)
@pytest.mark.parametrize("sizes", [(), (0,), (1, 70_000), (3_000_000,)])
def test_what_is_sent_arrives(serve, transport, sizes):
    _, _, client = serve(ROWS[transport].address)
    sent = tuple(bytes([i + 1]) * size for i, size in enumerate(sizes))
    # The reply's raw contents have another field number than the request's, so over gRPC tensors come back as such.
    reply = ask(client, b"hi", sent)
    assert (reply.kind, reply.header) == (Kind.INFER, header(b"hi"))
    assert tuple(bytes(t) for t in reply.tensors) == sent


@pytest.mark.parametrize("transport", servable())
def test_port_0_is_a_real_port(serve, transport):
    _, server, _ = serve(ROWS[transport].address)
    assert server.address.port > 0


@pytest.mark.parametrize("transport", SERVED)
def test_a_taken_address_is_an_error_with_a_sentence(serve, transport):
    _, server, _ = serve(ROWS[transport].address)
    with pytest.raises(WireError, match=r"taken|in use"):
        listen(str(server.address), Echo(), SOON)


@pytest.mark.parametrize("transport", SERVED)
@pytest.mark.parametrize(
    ("request_id", "code", "words"),
    [
        (b"refuse", "NOT_FOUND", "There is none."),
        (b"garbled", "INVALID_ARGUMENT", "Not a message."),
        (b"fail", "INTERNAL", "its log"),
    ],
)
def test_errors_cross_the_wire_and_secrets_do_not(serve, transport, request_id, code, words, caplog):
    echo, _, client = serve(ROWS[transport].address)
    for _ in range(2):
        with pytest.raises(Refused, match=words) as caught:
            ask(client, request_id)
        assert caught.value.code == code
        assert "secret" not in str(caught.value)
    assert ask(client, b"again").header == header(b"again")
    assert echo.after[:2] == [header(request_id)] * 2


@pytest.mark.parametrize("transport", servable())
def test_a_late_reply_is_not_taken_for_the_next_one(serve, transport):
    echo, _, client = serve(ROWS[transport].address)
    with pytest.raises(DeadlineExceeded):
        ask(client, b"wait", timeout_s=0.05)
    echo.go_on.set()
    assert ask(client, b"next").header == header(b"next")


def test_an_answer_to_an_unknown_request_is_not_waited_out():
    """A bit of the correlation number was changed on the way: the client retries long before its deadline."""
    router = zmq.Context.instance().socket(zmq.ROUTER)
    router.linger, router.rcvtimeo, router.router_handover = 0, 20_000, 1
    address = f"zmq://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
    change = [1 << 40, 0, 1]

    def answer():
        for bit in change:
            client, prefix = router.recv_multipart()
            magic, version, kind, correlation = PREFIX.unpack(prefix)
            router.send_multipart([client, PREFIX.pack(magic, version, kind, correlation ^ bit)])

    answering = threading.Thread(target=answer)
    answering.start()
    client = connect(address, SOON)
    hasty = connect(address, SOON, retry=Retry(attempts=1))
    try:
        assert ask(client, timeout_s=20.0).tensors == ()
        with pytest.raises(ConnectionLost, match="not asked"):
            ask(hasty, timeout_s=20.0)
    finally:
        answering.join()
        hasty.close()
        client.close()
        router.close()


@pytest.mark.parametrize("transport", servable())
def test_a_server_that_comes_back_is_found_again(serve, transport):
    _, server, client = serve(ROWS[transport].address)
    assert ask(client).tensors == ()
    server.close(0)
    with pytest.raises((Unreachable, DeadlineExceeded)):
        ask(client, timeout_s=2.0)
    serve(str(server.address))
    patient = connect(str(server.address), Timeouts())
    assert ask(patient).tensors == ()
    patient.close()
    assert ask(client).tensors == ()


@pytest.mark.parametrize("transport", servable())
def test_closing_answers_what_has_arrived(serve, transport):
    echo, server, client = serve(ROWS[transport].address)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(client, b"wait")))
    asking.start()
    assert echo.seen.wait(10)
    closing = threading.Thread(target=server.close)
    closing.start()
    echo.go_on.set()
    closing.join(10)
    asking.join(10)
    assert [answer.header for answer in answers] == [header(b"wait")]


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"short"],
        [b"XX" + bytes(10)],
        [PREFIX.pack(b"CL", 9, 1, 5)],
        [PREFIX.pack(b"CL", 1, 77, 5)],
        [PREFIX.pack(b"CL", 1, 1, 5), *[b"t"] * 17],
    ],
)
def test_garbage_frames_get_an_error_and_the_server_lives(serve, frames):
    _, server, client = serve("zmq://127.0.0.1:0")
    stranger = zmq.Context.instance().socket(zmq.DEALER)
    stranger.linger = 0
    stranger.connect(f"tcp://{server.address.netloc}")
    try:
        stranger.send_multipart(frames)
        assert stranger.poll(5000), "no answer"
        _, _, kind, correlation = PREFIX.unpack_from(stranger.recv_multipart()[0])
        assert kind == Kind.ERROR
        assert correlation == (5 if len(frames[0]) == PREFIX.size and frames[0][:2] == b"CL" else 0)
        assert ask(client, b"fine").header == header(b"fine")
    finally:
        stranger.close()


@pytest.mark.parametrize("transport", servable())
def test_bytes_of_another_protocol_do_not_end_the_server(serve, transport):
    _, server, client = serve(ROWS[transport].address)
    with socket.create_connection((server.address.host, server.address.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
    assert ask(client).tensors == ()


def test_a_garbled_grpc_message_is_an_invalid_argument(serve):
    _, server, client = serve("grpc://127.0.0.1:0")
    with grpc.insecure_channel(server.address.netloc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\x3a\xff\xff\xff\x7f", timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert ask(client).tensors == ()


@pytest.mark.parametrize(
    "text", ["localhost:80", "grpc://", "grpc://host", "grpc://host:http", "zmq://:80", "zmq://h:70000", "inprocess://"]
)
def test_what_is_no_address(text):
    with pytest.raises(ConfigError, match="not an address"):
        Address.parse(text)


def test_an_unknown_transport_is_named():
    with pytest.raises(ConfigError, match="zmqq"):
        Address.parse("zmqq://127.0.0.1:1")


@pytest.mark.parametrize("text", ["grpc://127.0.0.1:80", "zmq://localhost:0", "grpc://[::1]:80", "inprocess://x"])
def test_addresses_of_this_machine(text):
    address = Address.parse(text)
    assert str(address) == text
    assert not address.leaves_machine


@pytest.mark.parametrize(
    "text", ["grpc://0.0.0.0:0", "zmq://192.0.2.1:80", "grpc://cloud.example:80", "zmq://[2001:db8::1]:80"]
)
def test_plain_text_off_loopback_needs_a_word(text):
    for opening in (lambda: connect(text), lambda: listen(text, Echo())):
        with pytest.raises(ConfigError, match="insecure"):
            opening()
    connect(text, security=Security(insecure=True)).close()
