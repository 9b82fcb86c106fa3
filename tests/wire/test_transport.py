import socket
import threading

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
from cutlayer.wire.address import Address
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.retry import Retry
from cutlayer.wire.transport import Timeouts, refusal
from cutlayer.wire.zmq.frames import PREFIX

REAL = {"grpc": "grpc://127.0.0.1:0", "zmq": "zmq://127.0.0.1:0"}
EVERY = {**REAL, "inprocess": "inprocess://echo"}
SOON = Timeouts(connect_s=0.5, request_s=10.0)


class Echo:
    """Answers with what it got; waits or fails when the header says so."""

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
        if request.header == b"wait":
            self.go_on.wait(10)
        if request.header == b"refuse":
            raise Refused("NOT_FOUND", "There is none.")
        if request.header == b"garbled":
            raise DecodeError("Not a message.")
        if request.header == b"fail":
            raise ZeroDivisionError("a secret of the server")
        return Message(request.kind, request.header, tuple(bytes(t) for t in request.tensors))


@pytest.fixture
def serve():
    """A function that serves an Echo at an address and connects to it; all is closed afterwards."""
    opened = []

    def start(address):
        echo = Echo()
        server = listen(address, echo, SOON)
        client = connect(str(server.address), SOON)
        opened.extend((client, server))
        return echo, server, client

    yield start
    for one in opened:
        one.close()


def ask(client, header=b"", tensors=(), timeout_s=10.0):
    # Over gRPC a header is a protobuf message: the tag of `id`, a length, the text.
    return client.request(Message(Kind.INFER, header, tensors), timeout_s)


@pytest.mark.parametrize("address", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("sizes", [(), (0,), (1, 70_000), (3_000_000,)])
def test_what_is_sent_arrives(serve, address, sizes):
    _, _, client = serve(address)
    sent = tuple(bytes([i + 1]) * size for i, size in enumerate(sizes))
    header = b"\x1a\x02hi"
    # The reply's raw contents have another field number than the request's, so over gRPC tensors come back as such.
    reply = ask(client, header, sent)
    assert (reply.kind, reply.header) == (Kind.INFER, header)
    assert tuple(bytes(t) for t in reply.tensors) == sent


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_port_0_is_a_real_port(serve, address):
    _, server, _ = serve(address)
    assert server.address.port > 0


@pytest.mark.parametrize("address", EVERY.values(), ids=EVERY)
def test_a_taken_address_is_an_error_with_a_sentence(serve, address):
    _, server, _ = serve(address)
    with pytest.raises(WireError, match=r"taken|in use"):
        listen(str(server.address), Echo(), SOON)


@pytest.mark.parametrize("address", ["zmq://127.0.0.1:0", "inprocess://echo"])
@pytest.mark.parametrize(
    ("header", "code", "words"),
    [
        (b"refuse", "NOT_FOUND", "There is none."),
        (b"garbled", "INVALID_ARGUMENT", "Not a message."),
        (b"fail", "INTERNAL", "its log"),
    ],
)
def test_errors_cross_the_wire_and_secrets_do_not(serve, address, header, code, words, caplog):
    echo, _, client = serve(address)
    for _ in range(2):
        with pytest.raises(Refused, match=words) as caught:
            ask(client, header)
        assert caught.value.code == code
        assert "secret" not in str(caught.value)
    assert ask(client, b"again").header == b"again"
    assert echo.after[:2] == [header, header]


@pytest.mark.parametrize("address", ["zmq://127.0.0.1:0"])
def test_a_late_reply_is_not_taken_for_the_next_one(serve, address):
    echo, _, client = serve(address)
    with pytest.raises(DeadlineExceeded):
        ask(client, b"wait", timeout_s=0.05)
    echo.go_on.set()
    assert ask(client, b"next").header == b"next"


def test_an_answer_to_what_nobody_asked_is_not_waited_out():
    """A bit of the correlation was changed on the way: the client asks again, long before its deadline."""
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


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_a_server_that_comes_back_is_found_again(serve, address):
    _, server, client = serve(address)
    assert ask(client).tensors == ()
    server.close(0)
    with pytest.raises((Unreachable, DeadlineExceeded)):
        ask(client, timeout_s=2.0)
    serve(str(server.address))
    patient = connect(str(server.address), Timeouts())
    assert ask(patient).tensors == ()
    patient.close()
    assert ask(client).tensors == ()


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_closing_answers_what_has_arrived(serve, address):
    echo, server, client = serve(address)
    header = b"wait" if address.startswith("zmq") else b"\x1a\x04wait"
    echo.handle = _waits(echo)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(client, header)))
    asking.start()
    assert echo.seen.wait(10)
    closing = threading.Thread(target=server.close)
    closing.start()
    echo.go_on.set()
    closing.join(10)
    asking.join(10)
    assert [answer.header for answer in answers] == [header]


def _waits(echo):
    def handle(request):
        echo.seen.set()
        echo.go_on.wait(10)
        return request

    return handle


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
        assert ask(client, b"fine").header == b"fine"
    finally:
        stranger.close()


@pytest.mark.parametrize("address", REAL.values(), ids=REAL)
def test_bytes_of_another_protocol_do_not_end_the_server(serve, address):
    _, server, client = serve(address)
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
    with pytest.raises(ConfigError, match="no address"):
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
    connect(text, insecure=True).close()
