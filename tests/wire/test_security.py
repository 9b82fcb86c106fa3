"""Admitted clients and their server understand each other; any other side gets an error that names the reason."""

import contextlib
import datetime
import logging
import re
import socket
import stat
import threading
import time
from functools import partial

import pytest
from cryptography import x509

from cutlayer.errors import ConfigError, Refused, Unreachable, WireError
from cutlayer.wire import certs
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.security import Security
from cutlayer.wire.visitors import Visitors
from cutlayer.wire.zmq.frames import MAGIC, PREFIX
from tests.wire.ends import SOCKETS, WAIT_S, Echo, numbers, submit
from tests.wire.zmq.test_departures import wait_until

QUESTION = Message(Kind.INFER, b"\x1a\x02hi", (b"smashed",))

CA = {"ca": "ours/ca.pem"}
TLS_SERVER = {**CA, "cert": "ours/server.pem", "key": "ours/server.key", "token_file": "ours/token"}
TLS_CLIENT = {**CA, "cert": "ours/client.pem", "key": "ours/client.key", "token_file": "ours/token"}
CURVE_SERVER = {"curve_key": "ours/curve-server.key", "allow": "ours/clients"}
CURVE_CLIENT = {"curve_key": "ours/curve-client.key", "curve_server": "ours/curve-server.pub"}
PAIR = ("server", "client")
PAIRS = {"grpc": (TLS_SERVER, TLS_CLIENT), "zmq": (CURVE_SERVER, CURVE_CLIENT)}
PLAIN = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Keys and certificates: ours, those of another authority, expired ones, and those for another host."""
    folder = tmp_path_factory.mktemp("keys")
    for name, changes, hosts in (
        ("ours", {}, ()),
        ("theirs", {}, ()),
        ("expired", {"DAYS": -0.5}, ()),
        ("elsewhere", {"HERE": ()}, ("elsewhere.example",)),
    ):
        with pytest.MonkeyPatch.context() as patch:
            for constant, value in changes.items():
                patch.setattr(certs, constant, value)
            certs.init(folder / name, hosts)
    (folder / "empty").mkdir()
    return folder


def security(folder, files):
    return Security(**{name: folder / path for name, path in files.items()})


def of(owner, files):
    """The same files of another owner, such as "theirs"."""
    return {name: path.replace("ours", owner) for name, path in files.items()}


def without(files, *names):
    return {name: path for name, path in files.items() if name not in names}


def ask(address, client_security):
    with contextlib.closing(connect(str(address), security=client_security)) as client:
        return client.request(QUESTION, WAIT_S)


def refused(folder, scheme, server, client, friend=None, visitors=None):
    """Return the error of a refused client, after a check that another client is still answered."""
    listening = listen(SOCKETS[scheme], Echo(), security=security(folder, server), visitors=visitors)
    start = time.monotonic()
    try:
        with pytest.raises((Refused, Unreachable)) as caught:
            ask(listening.address, security(folder, client))
        assert time.monotonic() - start < WAIT_S, "later than the deadline"
        if friend is not None:
            assert ask(listening.address, security(folder, friend)).header == QUESTION.header
            # The server notices a failed handshake when the connection is gone.
            wait_until(lambda: visitors is None or any(visitors.counts()[1].values()))
    finally:
        listening.close(0)
    return str(caught.value)


@pytest.mark.parametrize("scheme", SOCKETS)
def test_an_admitted_client_is_answered(folder, scheme):
    server, client = (security(folder, files) for files in PAIRS[scheme])
    listening = listen(SOCKETS[scheme], Echo(), security=server)
    connection = connect(str(listening.address), security=client)
    for _ in range(3):
        assert connection.request(QUESTION, WAIT_S).header == QUESTION.header
    assert numbers(*submit(connection, 8)) == list(range(8))
    connection.close()
    listening.close()


@pytest.mark.parametrize(
    ("scheme", "server", "client"),
    [
        ("grpc", without(TLS_SERVER, "ca", "token_file"), CA),
        ("zmq", without(CURVE_SERVER, "allow"), without(CURVE_CLIENT, "curve_key")),
    ],
)
def test_a_server_may_encrypt_without_proof_of_the_client(folder, scheme, server, client):
    listening = listen(SOCKETS[scheme], Echo(), security=security(folder, server))
    assert ask(listening.address, security(folder, client)).header == QUESTION.header
    listening.close()


def test_a_phone_can_take_the_certificate_of_a_server(folder):
    """Apple's devices ask for its purpose, names and at most 825 days; https://support.apple.com/103769."""
    server, client = (x509.load_pem_x509_certificate((folder / f"ours/{n}.pem").read_bytes()) for n in PAIR)
    assert server.not_valid_after_utc - server.not_valid_before_utc <= datetime.timedelta(days=825)
    purposes = [list(one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) for one in (server, client)]
    assert purposes == [[x509.OID_SERVER_AUTH], [x509.OID_CLIENT_AUTH]]
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)


STOLEN = {"cert": "theirs/client.pem", "key": "theirs/client.key"}
REFUSALS = {
    "no certificate": (*PAIRS["grpc"], without(TLS_CLIENT, "cert", "key"), "asks for a certificate"),
    "another authority's client": (*PAIRS["grpc"], TLS_CLIENT | STOLEN, "certificate: its --ca is not"),
    "another authority's server": (*PAIRS["grpc"], of("theirs", TLS_CLIENT), "cannot be trusted"),
    "no token": (*PAIRS["grpc"], without(TLS_CLIENT, "token_file"), "--token-file"),
    "a wrong token": (*PAIRS["grpc"], TLS_CLIENT | {"token_file": "theirs/token"}, "--token-file"),
    "plain text to TLS": (*PAIRS["grpc"], PLAIN, "speaks TLS; give --ca"),
    "TLS to plain text": (PLAIN, PLAIN, without(TLS_CLIENT, "token_file"), "does not speak TLS"),
    "an expired server": (
        of("expired", without(TLS_SERVER, "ca")), None, of("expired", without(TLS_CLIENT, "cert", "key")),
        "cannot be trusted: certificate has expired",
    ),
    "an expired client": (
        without(TLS_SERVER, "token_file") | {"ca": "expired/ca.pem"}, None,
        CA | {"cert": "expired/client.pem", "key": "expired/client.key"},
        "does not accept this side's certificate: certificate has expired",
    ),
    "another host": (of("elsewhere", TLS_SERVER), None, of("elsewhere", TLS_CLIENT), "cannot be trusted"),
    "an unknown CURVE key": (
        *PAIRS["zmq"], CURVE_CLIENT | {"curve_key": "theirs/curve-client.key"}, "does not admit this side's key"
    ),
    "another CURVE server": (
        *PAIRS["zmq"], CURVE_CLIENT | {"curve_server": "theirs/curve-server.pub"}, "--curve-server"
    ),
    "plain text to CURVE": (*PAIRS["zmq"], PLAIN, "CURVE is for both sides"),
    "CURVE to plain text": (PLAIN, PLAIN, CURVE_CLIENT, "CURVE is for both sides"),
}  # fmt: skip
"""Files of the server, of a client that it admits if there is one, and of a refused client, with the reason."""


WHY = {
    ("grpc", ""): ("tls", "The TLS handshake failed"),
    ("grpc", "no token"): ("token", "The token is missing or wrong"),
    ("grpc", "a wrong token"): ("token", "The token is missing or wrong"),
    ("zmq", ""): ("protocol", "does not know this server's public key, only one side uses CURVE"),
    ("zmq", "an unknown CURVE key"): ("key", "its CURVE key is not in"),
}
"""Reason in the metrics and part of the line, by transport and case; by transport for all other cases."""


@pytest.mark.parametrize("case", REFUSALS)
def test_any_other_client_gets_the_reason(folder, case):
    server, friend, client, reason = REFUSALS[case]
    scheme = "zmq" if {"curve_key", "curve_server"} & {*server, *client} else "grpc"
    assert reason in refused(folder, scheme, server, client, friend)


# Nothing tells a server without encryption over gRPC that somebody tried to encrypt.
@pytest.mark.parametrize("case", [case for case in REFUSALS if case != "TLS to plain text"])
def test_the_server_says_whom_it_admits_and_whom_it_refuses_and_why(folder, case, caplog):
    server, friend, client, _ = REFUSALS[case]
    scheme = "zmq" if {"curve_key", "curve_server"} & {*server, *client} else "grpc"
    reason, why = WHY[scheme, case] if (scheme, case) in WHY else WHY[scheme, ""]
    with caplog.at_level(logging.INFO, "cutlayer.wire.visitors"):
        visitors = Visitors()
        refused(folder, scheme, server, client, friend, visitors)
    lines = [record.getMessage() for record in caplog.records if record.name == "cutlayer.wire.visitors"]
    # A connection that failed may be gone before its address is looked up.
    who = r"(127\.0\.0\.1(:\d+)?|a client of unknown address)"
    assert any(re.fullmatch(rf"{who} is refused: .*{why}.*", line) for line in lines), lines
    admitted = [line for line in lines if re.fullmatch(r"127\.0\.0\.1:\d+ is connected", line)]
    connections, by_reason = visitors.counts()
    assert len(admitted) == connections == (friend is not None)
    assert set(by_reason) == {reason}


@pytest.mark.parametrize("curve", [False, True])
def test_an_older_protocol_does_not_avoid_curve(folder, curve):
    """ZMTP 1 has no encryption; a server without encryption reads its messages like any other."""
    seen = threading.Event()

    class Sees(Echo):
        def submit(self, request, arrived_ns, caller, *, lend=False):
            seen.set()

    files = without(CURVE_SERVER, "allow") if curve else PLAIN
    server = listen(SOCKETS["zmq"], Sees(), security=security(folder, files))
    prefix = PREFIX.pack(MAGIC, 1, Kind.INFER, 1)
    with socket.create_connection((server.address.host, server.address.port), WAIT_S) as stranger:
        # An identity of no bytes, then one frame: its length with the flags, none of which is set.
        stranger.sendall(bytes((1, 0, 1 + len(prefix), 0)) + prefix)
        if curve:
            with contextlib.suppress(ConnectionResetError):
                while stranger.recv(100):
                    pass
        else:
            assert seen.wait(WAIT_S)
    assert seen.is_set() is not curve
    server.close(0)


def test_a_key_may_be_added_and_removed_while_the_server_runs(folder, tmp_path):
    (tmp_path / "ours.pub").write_bytes((folder / "ours/clients/client.pub").read_bytes())
    files = Security(curve_key=folder / "ours/curve-server.key", allow=tmp_path)
    server = listen(SOCKETS["zmq"], Echo(), security=files)
    stranger = security(folder, CURVE_CLIENT | {"curve_key": "theirs/curve-client.key"})
    with pytest.raises(WireError):
        ask(server.address, stranger)
    (tmp_path / "theirs.pub").write_bytes((folder / "theirs/clients/client.pub").read_bytes())
    assert ask(server.address, stranger).header == QUESTION.header
    (tmp_path / "theirs.pub").unlink()
    with pytest.raises(WireError):
        ask(server.address, stranger)
    server.close()


def test_no_secret_is_printed_or_logged(folder, caplog):
    names = ("token", "client.key", "server.key", "curve-client.key")
    secrets = [(folder / "ours" / name).read_text().strip() for name in names]
    with caplog.at_level(logging.DEBUG):
        texts = [
            refused(folder, "grpc", TLS_SERVER, without(TLS_CLIENT, "token_file")),
            refused(folder, "zmq", CURVE_SERVER, CURVE_CLIENT | {"curve_key": "theirs/curve-client.key"}),
            *(repr(security(folder, client)) for _, client in PAIRS.values()),
        ]
    printed = caplog.text + "".join(texts)
    assert not [secret for secret in secrets if secret in printed]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_the_owner_can_read_secret_files(folder):
    paths = contents(folder / "ours")
    assert len(paths) == 11
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o644 if path.suffix in (".pem", ".pub") else 0o600), path


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"two words", "café".encode(), b"\x1b[2J", b"a" * 5000])
def test_what_a_call_cannot_carry_is_no_token(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no token; a token is one line"):
        Security(token_file=tmp_path / "token").token()


def test_no_file_is_overwritten(folder):
    before = contents(folder / "ours")
    with pytest.raises(ConfigError, match="exists already"):
        certs.init(folder / "ours")
    assert contents(folder / "ours") == before


@pytest.mark.parametrize("scheme", SOCKETS)
def test_plain_text_leaves_the_machine_only_with_insecure(folder, scheme):
    address = f"{scheme}://192.0.2.1:80"
    connect(address, security=security(folder, PAIRS[scheme][1])).close()
    for files in (PLAIN, {"token_file": "ours/token"} if scheme == "grpc" else PLAIN):
        with pytest.raises(ConfigError, match="insecure"):
            connect(address, security=security(folder, files))


@pytest.mark.parametrize(
    ("scheme", "listening", "files", "reason"),
    [
        ("grpc", False, {"cert": "ours/client.pem"}, "--cert and --key"),
        ("grpc", False, without(TLS_CLIENT, "ca", "token_file"), "give --ca"),
        ("grpc", False, {"ca": "missing.pem"}, "cannot be read"),
        ("grpc", False, {"ca": "ours/token"}, "holds no certificate"),
        ("grpc", False, {"curve_server": "ours/curve-server.pub"}, "no effect over grpc"),
        ("grpc", False, {"token_file": "missing"}, "cannot be read"),
        ("grpc", True, CA, "the server's own --cert"),
        ("grpc", True, {"cert": "ours/server.pem", "key": "ours/client.key"}, "not a certificate and its private key"),
        ("zmq", False, CA, "no effect over zmq"),
        ("zmq", False, without(CURVE_CLIENT, "curve_server"), "give --curve-server"),
        ("zmq", False, {"curve_server": "ours/ca.pem"}, "no CURVE key"),
        ("zmq", False, without(CURVE_CLIENT, "curve_key") | {"allow": "ours/clients"}, "option of servers"),
        ("zmq", True, {"allow": "ours/clients"}, "--curve-key"),
        ("zmq", True, CURVE_SERVER | {"curve_server": "ours/curve-server.pub"}, "option of clients"),
        ("zmq", True, CURVE_SERVER | {"allow": "missing"}, "cannot be read"),
        ("zmq", True, CURVE_SERVER | {"allow": "empty"}, "no client would be admitted"),
    ],
)
def test_files_that_do_not_work_together_are_refused(folder, scheme, listening, files, reason):
    start = partial(listen, SOCKETS[scheme], Echo()) if listening else partial(connect, SOCKETS[scheme])
    with pytest.raises(ConfigError, match=reason):
        start(security=security(folder, files))


@pytest.mark.parametrize(("owner", "said"), [("ours", []), ("expired", ["certificate has expired"])])
def test_a_server_warns_of_a_certificate_that_no_client_trusts_and_of_no_other(folder, caplog, owner, said):
    own = security(folder / owner, {"cert": "server.pem", "key": "server.key"})
    with caplog.at_level(logging.WARNING, "cutlayer"):
        listen("grpc://127.0.0.1:0", Echo(), security=own).close()
    warned = [text for record in caplog.records if "No client will trust" in (text := record.getMessage())]
    assert len(warned) == len(said)
    assert all(why in text for why, text in zip(said, warned, strict=True))
