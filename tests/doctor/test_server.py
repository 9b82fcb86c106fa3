"""The checks of the connection and of the server: a test provokes each finding, which must give advice."""

import socket
from contextlib import contextmanager

import pytest

from cutlayer.cloud.service import Service
from cutlayer.doctor import server
from cutlayer.errors import ConfigError, DeadlineExceeded
from cutlayer.split_folder import open_split
from cutlayer.wire import certs
from cutlayer.wire.address import Address
from cutlayer.wire.connect import listen
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts
from tests.doctor.findings import faults, only
from tests.faults.proxy import Proxy
from tests.tiny_split import write_split


@contextmanager
def listening(folder, address, security=PLAIN):
    manifest = open_split(folder).manifest
    service = Service(manifest, open_split(folder).tail(threads=1))
    with_server = listen(address, service, security=security)
    try:
        yield str(with_server.address)
    finally:
        with_server.close()
        service.drain()


@pytest.mark.parametrize("scheme", ["grpc", "zmq"])
def test_a_server_of_the_same_split_has_no_faults(folder, scheme):
    with listening(folder, f"{scheme}://127.0.0.1:0") as address:
        findings = list(server.check_server(address, Security(), open_split(folder).manifest))
    assert not faults(findings), findings
    assert {"server", "round trip", "bandwidth", "handshake"} <= {finding.what for finding in findings}


def test_a_server_of_another_split(folder, tmp_path):
    manifest = write_split(tmp_path / "other", seed=1)
    with listening(folder, "zmq://127.0.0.1:0") as address:
        finding = only(server.check_server(address, Security(), manifest))
    assert "handshake" in finding
    assert "copy one split folder" in finding


def test_no_server_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"grpc://127.0.0.1:{taken.getsockname()[1]}"
    assert "127.0.0.1 refuses the connection" in only(server.check_server(address, Security(), None))


def test_plain_text_off_loopback_is_the_users_to_allow():
    with pytest.raises(ConfigError, match="--insecure"):
        list(server.check_server("grpc://192.0.2.1:8001", Security(), None))


def test_tls_as_it_should_be_and_left_out(folder, tmp_path):
    certs.init(tmp_path / "certs")
    of = {
        name: tmp_path / "certs" / name for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    }
    theirs = Security(of["ca.pem"], of["server.pem"], of["server.key"])
    ours = Security(of["ca.pem"], of["client.pem"], of["client.key"])
    with listening(folder, "grpc://127.0.0.1:0", theirs) as address:
        findings = list(server.check_server(address, ours, None))
        assert not faults(findings), findings
        assert any("the server's certificate is valid until" in finding.says for finding in findings)
        assert "speaks TLS" in only(server.check_server(address, Security(), None))


@pytest.mark.parametrize("scheme", ["grpc", "zmq"])
def test_a_side_without_the_files_that_the_server_asks_for(folder, tmp_path, scheme):
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
        findings = list(server.check_server(address, mine, None))
    assert "cutlayer certs init" in only(findings)


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

    finding = server._bandwidth(server.measure(Hole()))
    assert finding.status == "fault"
    assert "MTU" in finding.do


def test_a_link_of_small_packets(monkeypatch):
    monkeypatch.setattr(server, "SMALL_MTU_BYTES", 1 << 20)
    assert "mtu 1500" in only(server._mtu(Address.parse("grpc://127.0.0.1:1")), "note")


@pytest.mark.parametrize("scheme", ["grpc", "zmq"])
def test_a_port_that_another_program_holds_silently(monkeypatch, scheme):
    monkeypatch.setattr(server, "_TIMEOUTS", Timeouts(connect_s=0.5, request_s=0.5))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        assert "check that `cutlayer cloud`" in only(server.check_server(address, Security(), None))
