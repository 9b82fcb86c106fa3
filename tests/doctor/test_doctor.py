"""Each finding is provoked once, and says what to do."""

import datetime
import socket
import subprocess
import sys
from contextlib import contextmanager
from importlib import metadata

import numpy as np
import onnx
import pytest

from cloud.service import Service
from cloud.tail import OnnxTail
from cutlayer import certs
from cutlayer.doctor import examine, files, machine, packages, server
from cutlayer.errors import ConfigError, DeadlineExceeded
from cutlayer.spec import Manifest, sha256
from cutlayer.wire.address import Address
from cutlayer.wire.security import Security
from cutlayer.wire.transport import listen
from tests.faults.proxy import Proxy
from tests.tiny_split import write_split

YEAR = datetime.timedelta(days=365)


def faults(findings):
    return [finding for finding in findings if finding.status == "fault"]


def only(findings, status="fault"):
    (finding,) = (finding for finding in findings if finding.status == status)
    assert finding.do, "a finding that says nothing about what to do"
    return str(finding)


@pytest.fixture
def folder(tmp_path):
    write_split(tmp_path / "split")
    return tmp_path / "split"


@contextmanager
def listening(folder, address, security=None):
    manifest = Manifest.load(folder)
    service = Service(manifest, OnnxTail(folder / "tail.onnx", threads=1))
    with_server = listen(address, service, security=security)
    try:
        yield str(with_server.address)
    finally:
        with_server.close()
        service.drain()


@pytest.mark.parametrize("scheme", ["grpc", "zmq"])
def test_a_server_of_the_same_split_has_no_faults(folder, scheme):
    with listening(folder, f"{scheme}://127.0.0.1:0") as address:
        found = list(server.check_server(address, Security(), Manifest.load(folder), insecure=False))
    assert not faults(found), found
    assert {"server", "round trip", "bandwidth", "handshake"} <= {finding.what for finding in found}


def test_a_server_of_another_split(folder, tmp_path):
    manifest = write_split(tmp_path / "other", seed=1)
    with listening(folder, "zmq://127.0.0.1:0") as address:
        found = only(server.check_server(address, Security(), manifest, insecure=False))
    assert "handshake" in found
    assert "copy one split folder" in found


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"grpc://127.0.0.1:{taken.getsockname()[1]}"
    assert "nobody listens" in only(server.check_server(address, Security(), None, insecure=False))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(-2, "no"), "nobody knows the name"),
        (TimeoutError(), "firewalls"),
        (OSError(101, "Network is unreachable"), "network is unreachable"),
    ],
)
def test_why_a_server_is_not_reached(monkeypatch, error, said):
    def fail(*_):
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    found = server.check_server("zmq://192.0.2.1:8001", Security(), None, insecure=True)
    assert said in only(found)


def test_plain_text_off_loopback_is_the_users_to_allow():
    with pytest.raises(ConfigError, match="--insecure"):
        list(server.check_server("grpc://192.0.2.1:8001", Security(), None, insecure=False))


def test_tls_as_it_should_be_and_left_out(folder, tmp_path):
    certs.init(tmp_path / "certs")
    of = {
        name: tmp_path / "certs" / name for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    }
    theirs = Security(of["ca.pem"], of["server.pem"], of["server.key"])
    ours = Security(of["ca.pem"], of["client.pem"], of["client.key"])
    with listening(folder, "grpc://127.0.0.1:0", theirs) as address:
        found = list(server.check_server(address, ours, None, insecure=False))
        assert not faults(found), found
        assert any("the server's is good until" in finding.says for finding in found)
        assert "speaks TLS" in only(server.check_server(address, Security(), None, insecure=False))


@pytest.mark.parametrize("scheme", ["grpc", "zmq"])
def test_what_the_server_asks_for_and_this_side_does_not_have(folder, tmp_path, scheme):
    for name in ("certs", "others"):
        certs.init(tmp_path / name)
    ours, others = tmp_path / "certs", tmp_path / "others"
    if scheme == "zmq":
        theirs = Security(curve_key=ours / "curve-server.key", allow=ours / "clients")
        mine = Security(curve_key=others / "curve-client.key", curve_server=ours / "curve-server.pub")
    else:
        pair = {"ca": ours / "ca.pem", "token_file": ours / "token"}
        theirs = Security(cert=ours / "server.pem", key=ours / "server.key", **pair)
        mine = Security(cert=ours / "client.pem", key=ours / "client.key", **(pair | {"token_file": others / "token"}))
    with listening(folder, f"{scheme}://127.0.0.1:0", theirs) as address:
        found = list(server.check_server(address, mine, None, insecure=False))
    assert "cutlayer certs init" in only(found)


def test_round_trip_and_bandwidth_of_a_slow_link(folder):
    with (
        listening(folder, "zmq://127.0.0.1:0") as address,
        Proxy("127.0.0.1", Address.parse(address).port, delay_s=0.01, rate_bps=100e6) as proxy,
    ):
        client = server.connect(f"zmq://127.0.0.1:{proxy.port}")
        speed = server.measure(client)
        client.close()
    assert speed.rtt_s > 0.02
    assert speed.up_bps == pytest.approx(100e6, rel=0.2)


def test_large_messages_that_never_arrive():
    class Hole:
        def request(self, message, timeout_s):
            if message.nbytes > server.FIRST_BYTES:
                raise DeadlineExceeded("no answer")

    found = server._bandwidth(server.measure(Hole()))
    assert found.status == "fault"
    assert "MTU" in found.do


def test_a_split_that_runs(folder):
    assert not faults(files.check_split(folder))


def test_a_split_that_is_damaged_or_lies(folder):
    manifest = Manifest.load(folder)
    (folder / "head.onnx").write_bytes(b"oops")
    assert "head.onnx" in only(files.check_split(folder))
    head = onnx.load(folder / "tail.onnx")
    head.graph.input[0].name = head.graph.node[0].input[0] = "image"
    head.graph.output[0].name = head.graph.node[-1].output[0] = "smashed"
    onnx.save(head, str(folder / "head.onnx"))
    manifest.files["head.onnx"] = sha256(folder / "head.onnx")
    manifest.save(folder)
    assert faults(files.check_split(folder))
    assert "cutlayer split" in only(files.check_split(folder.parent))


@pytest.fixture
def keys(tmp_path):
    certs.init(tmp_path / "certs")
    return tmp_path / "certs"


def client(keys, **others):
    return Security(**{"ca": keys / "ca.pem", "cert": keys / "client.pem", "key": keys / "client.key", **others})


def test_keys_as_they_were_made_have_no_faults(keys):
    assert not faults(files.check_security(client(keys, token_file=keys / "token")))
    curve = Security(curve_key=keys / "curve-client.key", curve_server=keys / "curve-server.pub")
    assert not faults(files.check_security(curve))


def test_a_secret_that_others_may_read(keys):
    (keys / "client.key").chmod(0o640)
    assert f"chmod 600 {keys / 'client.key'}" in only(files.check_security(client(keys)))


def test_a_file_that_is_not_there(keys):
    found = faults(files.check_security(client(keys, ca=keys / "absent.pem")))
    assert "no such file" in str(found[0])


@pytest.mark.parametrize("name", ["token_file", "curve_key"])
def test_a_file_that_holds_something_else(keys, name):
    (keys / "junk").write_text("")
    (keys / "junk").chmod(0o600)
    assert "junk" in only(files.check_security(Security(**{name: keys / "junk"})))


def test_a_key_of_another_certificate(keys):
    assert "is not the private key" in only(files.check_security(client(keys, key=keys / "server.key")))


@pytest.mark.parametrize(
    ("later", "status", "said"),
    [
        (-YEAR, "fault", "clock"),
        (YEAR, "ok", "good until"),
        (800 * YEAR / 365, "note", "days"),
        (3 * YEAR, "fault", "expired"),
    ],
)
def test_dates_of_a_certificate(keys, later, status, said):
    now = datetime.datetime.now(datetime.UTC) + later
    found = files._dates(keys / "client.pem", now)
    assert found.status == status
    assert said in str(found)


def test_packages_of_this_environment_have_no_faults():
    assert not faults(packages.check_packages())


def test_a_package_that_is_missing_or_old(monkeypatch):
    assert "pip install 'cutlayer[onnx]'" in packages._package("no-such-package", "1.0", "onnx", None).do
    assert packages._package("no-such-package", "1.0", "zstd", None).status == "note"
    monkeypatch.setattr(metadata, "version", lambda name: "1.9.9")
    assert packages._package("any", "1.10", None, None).status == "fault"
    assert packages._package("any", "1.9", None, None).status == "ok"


@pytest.mark.parametrize(
    ("code", "said"),
    [("import os; os.kill(os.getpid(), 4)", "SIGILL"), ("import nonsense_without_a_name", "nonsense_without_a_name")],
)
def test_a_package_that_cannot_be_loaded(code, said):
    loading = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    found = packages._package("numpy", "1", None, loading)
    assert found.status == "fault"
    assert said in found.says


def test_the_rest_waits_for_packages(monkeypatch):
    monkeypatch.setattr(
        examine, "check_packages", lambda: iter([packages.fault("packages", "numpy is missing", "get it")])
    )
    found = list(examine.examine(None, "nonsense", Security(), insecure=False))
    assert [finding.status for finding in found] == ["fault", "note"]


def test_limits_of_this_machine(monkeypatch, tmp_path):
    def found(what):
        return next(finding for finding in machine.check_machine(tmp_path) if finding.what == what)

    assert "MiB free" in found("disk").says
    (tmp_path / "cpu.max").write_text("20000 100000")
    (tmp_path / "memory.max").write_text(str(1 << 20))
    monkeypatch.setattr(machine, "_cgroup", lambda: tmp_path)
    notes = [str(finding) for finding in machine.check_machine(tmp_path) if finding.status == "note"]
    assert any("0.20 of a core" in text for text in notes)
    assert found("memory").status == "fault"
    monkeypatch.setattr(machine, "LEAST_DISK_BYTES", 1 << 62)
    assert found("disk").status == "fault"
    monkeypatch.setattr(machine.time, "time", lambda: 0.0)
    assert found("date").status == "fault"


def test_a_clock_that_stands_still(monkeypatch):
    ticks = iter(np.repeat(np.arange(100), 20) * 4_000_000)
    monkeypatch.setattr(machine.time, "monotonic_ns", lambda: int(next(ticks)))
    assert machine._clock().status == "fault"


def cutlayer(*words):
    return subprocess.run(
        [sys.executable, "-m", "cutlayer.cli", "doctor", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_exit_code_1_with_a_fault(tmp_path):
    done = cutlayer(tmp_path)
    assert done.returncode == 1, done.stderr
    assert "fault split" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("faults: ")


@pytest.mark.parametrize("words", [["--connect", "inprocess://me"], ["--connect", "grpc://192.0.2.1:1"]])
def test_exit_code_2_for_what_makes_no_sense(words):
    done = cutlayer(*words)
    assert done.returncode == 2, done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
