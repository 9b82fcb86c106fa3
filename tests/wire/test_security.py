"""Those who may talk to each other do, and strangers are told why not."""

import contextlib
import logging
import socket
import stat
import threading
import time

import pytest

from cutlayer.errors import ConfigError, Refused, Unreachable, WireError
from cutlayer.wire import certs
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.zmq.frames import MAGIC, PREFIX

ADDRESSES = {"grpc": "grpc://127.0.0.1:0", "zmq": "zmq://127.0.0.1:0"}
PATIENCE = Timeouts(connect_s=5.0)
QUESTION = Message(Kind.INFER, b"\x1a\x02hi", (b"smashed",))


class Echo:
    def submit(self, request, arrived_ns, caller, *, lend=False):
        caller.answer(request._replace(tensors=tuple(bytes(t) for t in request.tensors)), lambda: None)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    certs.init(folder)
    return folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Keys and certificates of another authority."""
    folder = tmp_path_factory.mktemp("theirs")
    certs.init(folder)
    return folder


@pytest.fixture(scope="module")
def expired(ours, tmp_path_factory):
    """Certificates of another authority that were good until half a day ago."""
    folder = tmp_path_factory.mktemp("expired")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certs, "DAYS", -0.5)
        certs.init(folder)
    return folder


def tls_server(folder, **changed):
    given = {"ca": "ca.pem", "cert": "server.pem", "key": "server.key", "token_file": "token", **changed}
    return Security(**{name: folder / file for name, file in given.items() if file})


def tls_client(folder, **changed):
    given = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key", "token_file": "token", **changed}
    return Security(**{name: folder / file for name, file in given.items() if file})


def curve_server(folder):
    return Security(curve_key=folder / "curve-server.key", allow=folder / "clients")


def curve_client(folder, **changed):
    given = {"curve_key": folder / "curve-client.key", "curve_server": folder / "curve-server.pub", **changed}
    return Security(**given)


def ask(address, security, timeout_s=20.0):
    client = connect(str(address), PATIENCE, security=security)
    try:
        return client.request(QUESTION, timeout_s)
    finally:
        client.close()


def refused(transport, server, client, friend=None):
    """The error that a stranger receives, once it is clear that no other client suffers from it."""
    listening = listen(ADDRESSES[transport], Echo(), PATIENCE, security=server)
    start = time.monotonic()
    try:
        with pytest.raises((Refused, Unreachable)) as caught:
            ask(listening.address, client)
        assert time.monotonic() - start < 20.0, "later than the deadline"
        if friend is not None:
            assert ask(listening.address, friend).header == QUESTION.header
    finally:
        listening.close(0)
    return str(caught.value)


@pytest.mark.parametrize("transport", ADDRESSES)
def test_friends_talk(ours, transport):
    pairs = {"grpc": (tls_server(ours), tls_client(ours)), "zmq": (curve_server(ours), curve_client(ours))}
    server, client = pairs[transport]
    listening = listen(ADDRESSES[transport], Echo(), PATIENCE, security=server)
    talking = connect(str(listening.address), PATIENCE, security=client)
    for _ in range(3):
        assert bytes(talking.request(QUESTION, 20).tensors[0]) == b"smashed" if transport == "zmq" else True
    futures = [talking.submit(Message(Kind.INFER, b"\x1a\x01%d" % n), 20) for n in range(8)]
    assert [future.result().header[2:] for future in futures] == [b"%d" % n for n in range(8)]
    talking.close()
    listening.close()


def test_encryption_without_proof_of_the_client(ours):
    listening = listen(ADDRESSES["grpc"], Echo(), PATIENCE, security=tls_server(ours, ca=None, token_file=None))
    assert ask(listening.address, Security(ca=ours / "ca.pem")).header == QUESTION.header
    listening.close()
    listening = listen(ADDRESSES["zmq"], Echo(), PATIENCE, security=Security(curve_key=ours / "curve-server.key"))
    assert ask(listening.address, Security(curve_server=ours / "curve-server.pub")).header == QUESTION.header
    listening.close()


def test_no_certificate(ours):
    told = refused("grpc", tls_server(ours), tls_client(ours, cert=None, key=None), tls_client(ours))
    assert "asks for a certificate" in told


def test_a_certificate_of_another_authority(ours, theirs):
    stranger = Security(ours / "ca.pem", theirs / "client.pem", theirs / "client.key", ours / "token")
    assert "certificate: its --ca is not" in refused("grpc", tls_server(ours), stranger, tls_client(ours))


def test_a_server_of_another_authority(ours, theirs):
    told = refused("grpc", tls_server(ours), tls_client(theirs), tls_client(ours))
    assert "cannot be trusted" in told


def test_an_expired_server(expired):
    told = refused("grpc", tls_server(expired, ca=None), tls_client(expired, cert=None, key=None))
    assert "cannot be trusted: certificate has expired" in told


def test_an_expired_client(ours, expired):
    server = Security(expired / "ca.pem", ours / "server.pem", ours / "server.key")
    client = Security(ours / "ca.pem", expired / "client.pem", expired / "client.key")
    assert "does not accept this side's certificate: certificate has expired" in refused("grpc", server, client)


def test_a_certificate_for_another_host(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certs, "HERE", ())
        certs.init(tmp_path, ["elsewhere.example"])
    assert "cannot be trusted" in refused("grpc", tls_server(tmp_path), tls_client(tmp_path))


@pytest.mark.parametrize("token", [None, "theirs"])
def test_a_wrong_token_or_none(ours, theirs, token):
    client = Security(ours / "ca.pem", ours / "client.pem", ours / "client.key", token and theirs / "token")
    assert "--token-file" in refused("grpc", tls_server(ours), client, tls_client(ours))


def test_plain_text_to_a_port_of_tls(ours):
    assert "speaks TLS; give --ca" in refused("grpc", tls_server(ours), Security(), tls_client(ours))


def test_tls_to_a_port_of_plain_text(ours):
    told = refused("grpc", Security(), tls_client(ours, token_file=None), Security())
    assert "does not speak TLS" in told


def test_an_unknown_curve_key(ours, theirs):
    stranger = curve_client(ours, curve_key=theirs / "curve-client.key")
    assert "does not admit this side's key" in refused("zmq", curve_server(ours), stranger, curve_client(ours))


def test_another_server_than_the_key_says(ours, theirs):
    stranger = curve_client(ours, curve_server=theirs / "curve-server.pub")
    assert "--curve-server" in refused("zmq", curve_server(ours), stranger, curve_client(ours))


def test_plain_text_to_a_port_of_curve(ours):
    assert "CURVE is for both sides" in refused("zmq", curve_server(ours), Security(), curve_client(ours))


@pytest.mark.parametrize("curve", [False, True])
def test_an_older_protocol_is_no_way_around_curve(ours, curve):
    """ZMTP 1 knows no encryption; where none is asked for, its messages are read as any other's."""
    seen = threading.Event()

    class Sees(Echo):
        def submit(self, request, arrived_ns, caller, *, lend=False):
            seen.set()

    security = Security(curve_key=ours / "curve-server.key") if curve else Security()
    server = listen(ADDRESSES["zmq"], Sees(), PATIENCE, security=security)
    prefix = PREFIX.pack(MAGIC, 1, Kind.INFER, 1)
    with socket.create_connection((server.address.host, server.address.port), 20) as stranger:
        # A name of no bytes, then one frame: its length with the flags, which are none.
        stranger.sendall(bytes((1, 0, 1 + len(prefix), 0)) + prefix)
        if curve:
            with contextlib.suppress(ConnectionResetError):
                while stranger.recv(100):
                    pass
        else:
            assert seen.wait(20)
    assert seen.is_set() is not curve
    server.close(0)


def test_curve_to_a_port_of_plain_text(ours):
    assert "CURVE is for both sides" in refused("zmq", Security(), curve_client(ours), Security())


def test_a_key_may_be_added_and_taken_away_while_the_server_runs(ours, theirs, tmp_path):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "one.pub").write_bytes((ours / "clients" / "client.pub").read_bytes())
    server = listen(
        ADDRESSES["zmq"], Echo(), PATIENCE, security=Security(curve_key=ours / "curve-server.key", allow=allowed)
    )
    stranger = curve_client(ours, curve_key=theirs / "curve-client.key")
    with pytest.raises(WireError):
        ask(server.address, stranger)
    (allowed / "two.pub").write_bytes((theirs / "clients" / "client.pub").read_bytes())
    assert ask(server.address, stranger).header == QUESTION.header
    (allowed / "two.pub").unlink()
    with pytest.raises(WireError):
        ask(server.address, stranger)
    server.close()


def test_no_secret_is_printed_or_logged(ours, theirs, caplog):
    secrets = [(ours / name).read_text().strip() for name in ("token", "client.key", "server.key", "curve-client.key")]
    with caplog.at_level(logging.DEBUG):
        told = [
            refused("grpc", tls_server(ours), Security(ours / "ca.pem", ours / "client.pem", ours / "client.key")),
            refused("zmq", curve_server(ours), curve_client(ours, curve_key=theirs / "curve-client.key")),
            repr(tls_client(ours)),
            repr(curve_client(ours)),
        ]
    said = caplog.text + "".join(told)
    assert not [secret for secret in secrets if secret in said]


def test_files_have_sane_modes(ours):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ours.rglob("*") if path.is_file()}
    assert len(modes) == 11
    for name, mode in modes.items():
        assert mode == (0o644 if name.endswith((".pem", ".pub")) else 0o600), name


def test_nothing_is_overwritten(ours):
    before = {path: path.read_bytes() for path in ours.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="exists already"):
        certs.init(ours)
    assert {path: path.read_bytes() for path in ours.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("address", ["grpc://192.0.2.1:80", "zmq://192.0.2.1:80"])
def test_encryption_needs_no_word_off_loopback(ours, address):
    security = tls_client(ours) if address.startswith("grpc") else curve_client(ours)
    connect(address, security=security).close()
    with pytest.raises(ConfigError, match="insecure"):
        connect(address)
    with pytest.raises(ConfigError, match="insecure"):
        connect(address, security=Security(token_file=ours / "token") if address.startswith("grpc") else Security())


@pytest.mark.parametrize(
    ("listening", "given", "words"),
    [
        (False, {"cert": "client.pem"}, "--cert and --key"),
        (False, {"cert": "client.pem", "key": "client.key"}, "give --ca"),
        (False, {"ca": "missing.pem"}, "cannot be read"),
        (False, {"ca": "token"}, "holds no certificate"),
        (False, {"curve_server": "curve-server.pub"}, "no effect over grpc"),
        (False, {"token_file": "missing"}, "cannot be read"),
        (True, {"ca": "ca.pem"}, "the server's own --cert"),
        (True, {"cert": "server.pem", "key": "client.key"}, "not a certificate and its private key"),
    ],
)
def test_what_does_not_fit_is_said_over_grpc(ours, listening, given, words):
    does_not_fit(ours, ADDRESSES["grpc"], listening, given, words)


@pytest.mark.parametrize(
    ("listening", "given", "words"),
    [
        (False, {"ca": "ca.pem"}, "no effect over zmq"),
        (False, {"curve_key": "curve-client.key"}, "give --curve-server"),
        (False, {"curve_server": "ca.pem"}, "no CURVE key"),
        (False, {"curve_server": "curve-server.pub", "allow": "clients"}, "option of servers"),
        (True, {"allow": "clients"}, "--curve-key"),
        (True, {"curve_key": "curve-server.key", "curve_server": "curve-server.pub"}, "option of clients"),
        (True, {"curve_key": "curve-server.key", "allow": "missing"}, "cannot be read"),
        (True, {"curve_key": "curve-server.key", "allow": ""}, "no client would be admitted"),
    ],
)
def test_what_does_not_fit_is_said_over_zeromq(ours, listening, given, words):
    does_not_fit(ours, ADDRESSES["zmq"], listening, given, words)


def does_not_fit(folder, address, listening, given, words):
    # An empty name is the folder of the certificates, which holds a server's public key but no client's.
    files = {name: folder / file if file else folder / "empty" for name, file in given.items()}
    if folder / "empty" in files.values():
        (folder / "empty").mkdir(exist_ok=True)
    security = Security(**files)
    with pytest.raises(ConfigError, match=words):
        _ = listen(address, Echo(), security=security) if listening else connect(address, security=security)
