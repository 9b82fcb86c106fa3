"""Who is admitted may change while a server runs; a file that is being rewritten locks nobody out."""

import contextlib
import logging
import shutil

import pytest
import zmq

from cutlayer.doctor.files import check_security
from cutlayer.errors import ConfigError, Refused, WireError
from cutlayer.wire import kept
from cutlayer.wire import security as security_files
from cutlayer.wire.connect import _said, connect, listen
from cutlayer.wire.kept import Kept
from cutlayer.wire.retry import Retry
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.zmq.curve import NOBODY, allowed, client_options
from cutlayer.wire.zmq.frames import open_socket, pack
from cutlayer.wire.zmq.monitor import Connection
from tests.wire.ends import SOCKETS, WAIT_S, Echo
from tests.wire.test_security import PAIRS, QUESTION, ask, folder, security
from tests.wire.zmq.test_departures import wait_until

__all__ = ["folder"]


@pytest.fixture
def own(folder, tmp_path, monkeypatch):
    """A copy of all keys, which a server reads again at each look."""
    monkeypatch.setattr(kept, "LOOK_S", 0.0)
    shutil.copytree(folder, tmp_path / "keys")
    return tmp_path / "keys"


@contextlib.contextmanager
def served(own, scheme, server, client):
    """The server, and a client with an open connection."""
    listening = listen(SOCKETS[scheme], Echo(), security=security(own, server))
    with contextlib.closing(connect(str(listening.address), retry=Retry(1), security=security(own, client))) as asking:
        try:
            assert asking.request(QUESTION, WAIT_S)
            yield listening.address, asking
        finally:
            listening.close(0)


def refused(client):
    """Whether a client is refused, now that its connection may be lost."""
    try:
        client.request(QUESTION, WAIT_S)
    except Refused as error:
        return error.code == "UNAUTHENTICATED"
    except WireError:
        return False
    return False


REMOVALS = {
    "a CURVE key": ("zmq", *PAIRS["zmq"], "ours/clients/client.pub", "theirs/clients/client.pub"),
    "an authority": ("grpc", *PAIRS["grpc"], "ours/ca.pem", "theirs/ca.pem"),
    "a token": ("grpc", *PAIRS["grpc"], "ours/token", "theirs/token"),
}


@pytest.mark.parametrize(("scheme", "server", "client", "file", "other"), REMOVALS.values(), ids=REMOVALS)
def test_who_is_removed_loses_its_connections(own, scheme, server, client, file, other):
    # The client has its own copy of what the server is about to change.
    shutil.copytree(own / "ours", own / "client")
    client = {name: path.replace("ours", "client") for name, path in client.items()}
    with served(own, scheme, server, client) as (_, asking):
        shutil.copy(own / other, own / file)
        wait_until(lambda: refused(asking))


def test_a_silent_client_loses_its_connection_too_and_one_whose_key_stays_connects_again(own):
    """Only a message tells the key of a connection; both clients connect and send none."""
    shutil.copytree(own / "ours", own / "client")
    shutil.copy(own / "theirs/clients/client.pub", own / "ours/clients/stays.pub")
    files = {name: path.replace("ours", "client") for name, path in PAIRS["zmq"][1].items()}
    with contextlib.ExitStack() as opened:
        server = listen(SOCKETS["zmq"], Echo(), security=security(own, PAIRS["zmq"][0]))
        opened.callback(server.close, 0)
        clients = []
        for key in ("client/curve-client.key", "theirs/curve-client.key"):
            options = client_options(security(own, files | {"curve_key": key}))
            socket = open_socket(zmq.DEALER, Timeouts(), options)
            opened.callback(socket.close, 0)
            connection = Connection(socket, server.address, True)
            opened.callback(connection.close)
            socket.connect(f"tcp://127.0.0.1:{server.address.port}")
            wait_until(lambda connection=connection: connection.look() or connection.up)
            clients.append((socket, connection))
        (own / "ours/clients/client.pub").unlink()
        for _, connection in clients:
            wait_until(connection.look)
        for socket, _ in clients:
            socket.send_multipart(pack(QUESTION, 1))
        (removed, _), (stays, _) = clients
        assert stays.poll(WAIT_S * 1000)
        assert not removed.poll(0)


BEGUN = {"empty": b"", "half written": b"half"}


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
@pytest.mark.parametrize(("scheme", "server", "client", "file", "_"), REMOVALS.values(), ids=REMOVALS)
def test_a_file_that_is_being_written_locks_nobody_out(own, scheme, server, client, file, _, begun, caplog):
    client = {name: path.replace("ours", "client") for name, path in client.items()}
    shutil.copytree(own / "ours", own / "client")
    with served(own, scheme, server, client) as (address, asking):
        if file.endswith("token") and begun:
            return
        (own / file).write_bytes(begun)
        wait_until(lambda: "stays in force" in caplog.text)
        assert asking.request(QUESTION, WAIT_S)
        assert ask(address, security(own, client)).header == QUESTION.header
    assert caplog.text.count("stays in force") == 1


def test_a_list_without_files_locks_nobody_out_and_one_of_nobody_does(own, caplog):
    with served(own, "zmq", *PAIRS["zmq"]) as (address, asking):
        for file in (own / "ours/clients").iterdir():
            file.unlink()
        wait_until(lambda: "stays in force" in caplog.text)
        assert asking.request(QUESTION, WAIT_S)
        (own / "ours/clients/nobody.pub").write_bytes(NOBODY + b"\n")
        wait_until(lambda: refused(asking))
        with pytest.raises(Refused, match="does not admit"):
            ask(address, security(own, PAIRS["zmq"][1]))
    assert allowed(own / "ours/clients") == frozenset()


def test_a_change_counts_when_two_readings_agree():
    read = iter(["a", "b", "a", "b", "b", "b"])
    now = iter(range(0, 1000, 10))
    value = Kept(lambda: next(read), lambda: next(now))
    changes = [value.look() for _ in range(5)]
    assert changes == [False, False, False, True, False]
    assert value.value == "b"


@pytest.mark.parametrize("side", [0, 1], ids=["server", "client"])
def test_a_key_with_a_passphrase_is_one_sentence(own, side):
    from cryptography.hazmat.primitives import serialization as form

    files = PAIRS["grpc"][side]
    path = own / files["key"]
    key = form.load_pem_private_key(path.read_bytes(), None)
    for written in (form.PrivateFormat.PKCS8, form.PrivateFormat.TraditionalOpenSSL):
        path.write_bytes(key.private_bytes(form.Encoding.PEM, written, form.BestAvailableEncryption(b"word")))
        with (
            pytest.raises(ConfigError, match="has a passphrase") as caught,
            contextlib.closing(
                connect("grpc://127.0.0.1:1", security=security(own, files))
                if side
                else listen(SOCKETS["grpc"], Echo(), security=security(own, files))
            ),
        ):
            pass
        findings = [finding for finding in check_security(security(own, files)) if finding.status == "fault"]
        assert [finding.says for finding in findings] == [str(caught.value)]


def test_a_server_says_that_its_certificate_has_expired(own, caplog):
    files = {"cert": "expired/server.pem", "key": "expired/server.key"}
    for owner, n in (("expired", 1), ("ours", 1)):
        listen(
            SOCKETS["grpc"], Echo(), security=security(own, {k: v.replace("expired", owner) for k, v in files.items()})
        ).close(0)
        assert caplog.text.count("has expired; write new files") == n


@pytest.mark.parametrize("scheme", SOCKETS)
def test_a_secret_that_others_can_read_is_said_once_and_alike(own, scheme, caplog):
    caplog.set_level(logging.WARNING)
    with monkeypatched_said():
        files = security(own, PAIRS[scheme][0])
        (path, *_) = files.secret_files
        path.chmod(0o644)
        for _ in range(2):
            listen(SOCKETS[scheme], Echo(), security=files).close(0)
    assert caplog.text.count(f"{path} is secret, but other users can read or write it (mode 644)") == 1
    assert [finding.status for finding in check_security(Security(**files.files)) if "is secret" in finding.says] == [
        "fault"
    ]
    assert security_files.exposed(path.with_name("missing")) is None


@contextlib.contextmanager
def monkeypatched_said():
    before = set(_said)
    _said.clear()
    yield
    _said.update(before)
