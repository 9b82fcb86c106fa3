"""Names as the system resolves them, each of their addresses, and one sentence for each reason not to be reached."""

import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from cutlayer.doctor.server import check_server
from cutlayer.errors import ConfigError, Refused, Unreachable
from cutlayer.wire import certs, reach, trouble
from cutlayer.wire.address import Address
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts
from tests.wire.ends import WAIT_S, Echo, message
from tests.wire.resolver import names

__all__ = ["names"]

each_transport = pytest.mark.parametrize("scheme", ["grpc", "zmq"])
PLAIN = Security(insecure=True)
SHORT = Timeouts(connect_s=0.2)
DARK = "127.0.0.9"
"""An address of loopback at which the tests let nobody listen."""


def ask(address, timeouts=None, security=PLAIN):
    with closing(connect(address, timeouts, security=security)) as client:
        return client.request(message(1), WAIT_S)


@contextmanager
def serving(address, security=PLAIN):
    with closing(listen(address, Echo(), security=security)) as server:
        yield server.address


@contextmanager
def silence():
    """A port that answers no further attempt to connect, because its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for end in waiting:
            end.setblocking(False)
            end.connect_ex(full.getsockname())
        try:
            yield full.getsockname()[1]
        finally:
            for end in waiting:
                end.close()


@each_transport
def test_a_name_is_what_the_system_says(scheme, names):
    names["pi.local"] = ["127.0.0.1"]
    with serving(f"{scheme}://127.0.0.1:0") as address:
        assert ask(f"{scheme}://pi.local:{address.port}") == message(1)


@each_transport
@pytest.mark.parametrize("first", ["::1", DARK])
def test_every_address_of_a_name_is_tried(scheme, names, first):
    names["pi"] = [first, "127.0.0.1"]
    with serving(f"{scheme}://127.0.0.1:0") as address:
        assert ask(f"{scheme}://pi:{address.port}") == message(1)


@each_transport
def test_an_address_that_is_silent_does_not_hide_the_next(scheme, monkeypatch):
    with silence() as port, serving(f"{scheme}://127.0.0.2:{port}"):
        ends = tuple(reach.Endpoint(socket.AF_INET, host, port) for host in ("127.0.0.1", "127.0.0.2"))
        monkeypatch.setattr(reach, "_ask", lambda *_: ends)
        assert ask(f"{scheme}://pi:{port}", Timeouts(connect_s=WAIT_S)) == message(1)
        with reach.dial(Address(scheme, "pi", port), WAIT_S) as connection:
            assert connection.getpeername()[0] == "127.0.0.2"


@each_transport
def test_a_name_is_asked_for_again_when_the_connection_is_lost(scheme, names):
    names["pi"] = ["127.0.0.1"]
    with serving(f"{scheme}://127.0.0.1:0") as address:
        client = connect(f"{scheme}://pi:{address.port}", security=PLAIN)
        assert client.request(message(1), WAIT_S) == message(1)
    names["pi"] = ["127.0.0.2"]
    with closing(client), serving(f"{scheme}://127.0.0.2:{address.port}"):
        assert client.request(message(2), WAIT_S) == message(2)


@each_transport
def test_a_name_service_that_fails_later_does_not_matter(scheme, names):
    names["pi"] = ["127.0.0.1"]
    with serving(f"{scheme}://127.0.0.1:0") as address:
        client = connect(f"{scheme}://pi:{address.port}", security=PLAIN)
        assert client.request(message(1), WAIT_S) == message(1)
    names["pi"] = socket.gaierror(socket.EAI_AGAIN, "no")
    with closing(client), serving(str(address)):
        assert client.request(message(2), WAIT_S) == message(2)


@pytest.mark.parametrize("name", ["cloud.example", "CLOUD.Example", "cloud.example.", "bücher.example", "::1", "other"])
def test_a_certificate_must_show_the_name_and_not_the_number(name, names, tmp_path):
    certs.init(tmp_path / "certs", ["cloud.example", "Bücher.example."])
    of = {path.name: path for path in (tmp_path / "certs").iterdir()}
    names[name] = ["127.0.0.1"] if name != "::1" else None
    host = "[::1]" if name == "::1" else "127.0.0.1"
    client = Security(ca=of["ca.pem"])
    with serving(f"grpc://{host}:0", Security(cert=of["server.pem"], key=of["server.key"])) as address:
        asked = f"grpc://{host if name == '::1' else name}:{address.port}"
        if name != "other":
            assert ask(asked, security=client) == message(1)
            return
        with pytest.raises(Refused, match="cannot be trusted"):
            ask(asked, security=client)


@pytest.mark.parametrize("host", ["a b", "a..b", "a" * 64, "user@host", "::1::2"])
def test_a_certificate_is_made_for_no_name_that_cannot_be(host, tmp_path):
    with pytest.raises(ConfigError, match="neither an IP address nor a host name"):
        certs.init(tmp_path / "certs", [host])
    assert not (tmp_path / "certs").exists()


def faults():
    """Each reason not to reach a server: what to do to the names, the host, and words of the sentence."""
    return {
        "unknown": (socket.gaierror(socket.EAI_NONAME, "no"), "the name pi is unknown"),
        "name service": (socket.gaierror(socket.EAI_AGAIN, "no"), "the name service does not answer"),
        "refused": (["127.0.0.1"], "127.0.0.1 refuses the connection"),
        "two": (["127.0.0.1", DARK], f"127.0.0.1 and {DARK} refuses the connection"),
    }


@each_transport
@pytest.mark.parametrize("kind", faults())
def test_one_sentence_for_each_reason_at_the_device_and_the_doctor(scheme, kind, names):
    names["pi"], words = faults()[kind]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"{scheme}://pi:{taken.getsockname()[1]}"
    with pytest.raises(Unreachable) as caught:
        # Long enough for a loaded machine to notice both refusals.
        ask(address, Timeouts(connect_s=1.0))
    (finding,) = check_server(address, PLAIN, None)
    assert finding.status == "fault"
    assert words in caught.value.says
    assert words in finding.says
    assert caught.value.do == finding.do


@each_transport
def test_silence_is_no_refusal(scheme):
    with silence() as port, pytest.raises(Unreachable, match=r"127\.0\.0\.1 is silent.*firewalls"):
        ask(f"{scheme}://127.0.0.1:{port}", SHORT)


@each_transport
def test_a_silent_name_service_takes_no_longer_than_the_wait_for_the_server(scheme, names):
    asked, over = [], threading.Event()

    def hang():
        asked.append(1)
        over.wait(WAIT_S)
        raise socket.gaierror(socket.EAI_AGAIN, "no")

    names["pi"] = hang
    try:
        for _ in range(2):
            with pytest.raises(Unreachable, match="the name service does not answer when it is asked for pi"):
                ask(f"{scheme}://pi:1", SHORT)
        assert len(asked) == 1, "each request has a thread that waits for the name service"
    finally:
        over.set()


@pytest.mark.parametrize(
    ("scheme", "greeting", "words"),
    [
        ("grpc", b"", "says nothing that a server of this transport says.*check that `cutlayer cloud`"),
        ("zmq", b"", "says nothing that a server of this transport says.*check that `cutlayer cloud`"),
        ("grpc", b"HTTP/1.1 400 Bad Request\r\n\r\n", r"is a web server \(HTTP/1\)"),
        ("grpc", b"SSH-2.0-\x1b[2J\r\n", r"says 'SSH-2\.0-\\x1b\[2J'"),
        ("grpc", b"\xff\0\0\0\0\0\0\0\1\x7f\3", "speaks ZeroMQ; write zmq://"),
        ("zmq", b"\0\0\x12\4\0\0\0\0\0", "speaks gRPC; write grpc://"),
        ("zmq", b"\x15\3\3\0\2\2\x46", "speaks TLS"),
    ],
)
def test_a_program_that_is_no_such_server(scheme, greeting, words):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = Address(scheme, "127.0.0.1", other.getsockname()[1])
        with closing(reach.Reason(address, 0.0)) as reason:
            reason.ask(reach.look_up(address, 1.0))
            connection, _ = other.accept()
            with connection:
                reason.ask(())
                connection.sendall(greeting)
                deadline = time.monotonic() + WAIT_S
                while True:
                    with pytest.raises(Unreachable) as caught:
                        raise reason.error()
                    if not greeting or "nothing" not in str(caught.value) or time.monotonic() > deadline:
                        break
    assert caught.match(words)


@each_transport
def test_a_real_server_of_another_transport_is_named(scheme):
    other = {"grpc": "zmq", "zmq": "grpc"}[scheme]
    with serving(f"{other}://127.0.0.1:0") as address, pytest.raises((Unreachable, Refused), match=f"{other}://"):
        ask(f"{scheme}://127.0.0.1:{address.port}", SHORT)


def test_addresses_take_turns_and_none_counts_twice(names):
    names["pi"] = ["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.1"]
    found = reach.look_up(Address("zmq", "pi", 1), 1.0)
    assert [end.host for end in found] == ["2001:db8::1", "192.0.2.1", "2001:db8::2"]


def test_only_loopback_is_localhost(names):
    names["localhost"] = ["192.0.2.1", "127.0.0.1"]
    assert [end.host for end in reach.look_up(Address("zmq", "localhost", 1), 1.0)] == ["127.0.0.1"]


def test_zones_of_ipv6_stay():
    (found,) = reach.look_up(Address.parse("grpc://[fe80::1%lo]:1"), 1.0)
    assert found.netloc == "[fe80::1%lo]:1"
    with pytest.raises(Unreachable, match="no network interface nosuch"):
        reach.look_up(Address.parse("grpc://[fe80::1%nosuch]:1"), 1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grpc://a..b:1", "parts of a host name"),
        (f"grpc://{'a' * 64}.example:1", "parts of a host name"),
        (f"zmq://{'a.' * 150}example:1", "at most 253"),
        ("zmq://a b:1", "letters, digits"),
        ("zmq://user@host:1", "letters, digits"),
        ("grpc://\x1b[2J:1", "letters, digits"),
        ("grpc://[::1:1", "no IPv6 address"),
        ("grpc://host:http", "the port must be a number"),
        ("grpc://host:٨٠", "the port must be a number"),
        ("grpc://host:-1", "the port must be a number"),
    ],
)
def test_a_host_or_port_that_cannot_be(text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Address.parse(text)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("host", ["LOCALHOST", "localhost.", "127.8.9.1", "[::1%lo]"])
def test_more_names_of_this_machine(host):
    assert not Address.parse(f"grpc://{host}:1").leaves_machine


STARVED = """
import os, resource
from cutlayer.errors import WireError
from cutlayer.wire.connect import connect, listen
from tests.wire.ends import Echo, message
servers = [listen(f"{scheme}://127.0.0.1:0", Echo()) for scheme in ("grpc", "zmq")]
for server in servers:
    used = len(os.listdir("/proc/self/fd"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 5, limits[1]))
    for attempt in (
        lambda: connect(str(server.address)).request(message(1), 5.0),
        lambda: listen(f"{server.address.scheme}://127.0.0.1:0", Echo()),
    ):
        try:
            attempt()
        except WireError as error:
            print(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    server.close(0)
"""


def test_descriptors_that_run_out():
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 4, said
    for scheme, (client, server) in zip(("grpc", "zmq"), (said[:2], said[2:]), strict=True):
        assert client.startswith(f"No server is reached at {scheme}://")
        assert server.startswith(f"Cannot listen at {scheme}://")
    for words in said:
        assert "no file descriptor is free (limit of this process: " in words
        assert "ulimit -n" in words


def test_every_reason_has_words_of_its_own():
    import errno

    codes = (errno.ECONNREFUSED, errno.EHOSTUNREACH, None, errno.EMFILE, errno.EACCES, errno.EADDRNOTAVAIL, errno.EIO)
    found = [trouble.not_reached(code, "192.0.2.1") for code in codes]
    found += [trouble.unknown_name("pi"), trouble.unknown_name("pi.local"), trouble.silent_name_service("pi")]
    assert len({each.says for each in found}) == len(found)
    assert len({each.do for each in found}) >= len(found) - 1
    assert str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) in found[3].says


@each_transport
def test_an_unknown_name_stays_unknown_when_the_last_look_up_runs_out_of_time(scheme, names):
    unknown = socket.gaierror(socket.EAI_NONAME, "unknown")
    first = iter([unknown])

    def answer():
        if error := next(first, None):
            raise error
        time.sleep(2)
        raise unknown

    # A name of its own, because a look-up that is under way is shared.
    names[f"{scheme}.example"] = answer
    with pytest.raises(Unreachable, match=rf"the name {scheme}\.example is unknown here"):
        ask(f"{scheme}://{scheme}.example:1", Timeouts(connect_s=0.6), Security(insecure=True))
