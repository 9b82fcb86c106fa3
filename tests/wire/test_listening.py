"""At which addresses a server listens, and one sentence for each reason why it cannot."""

import errno
import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from cutlayer.cloud.metrics_http import MetricsServer
from cutlayer.errors import WireError
from cutlayer.wire import trouble
from cutlayer.wire.connect import listen
from cutlayer.wire.security import Security
from tests.wire.ends import Echo
from tests.wire.resolver import names

__all__ = ["names"]

PLAIN = Security(insecure=True)


def serve(scheme, host, port=0):
    if scheme == "http":
        return MetricsServer(f"{host}:{port}", Echo(), insecure=True)
    return listen(f"{scheme}://{host}:{port}", Echo(), security=PLAIN)


each_server = pytest.mark.parametrize("scheme", ["grpc", "zmq", "http"])


@each_server
def test_a_server_listens_at_all_addresses_of_a_name(scheme, names):
    names["here"] = ["::1", "127.0.0.1", "127.0.0.3", "192.0.2.1"]
    with closing(serve(scheme, "here")) as server:
        for host in ("::1", "127.0.0.1", "127.0.0.3"):
            socket.create_connection((host, server.address.port), 5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.4", server.address.port), 5)
    with closing(serve(scheme, "here", server.address.port)):
        pass


@each_server
def test_why_a_server_cannot_listen(scheme, names):
    with pytest.raises(WireError, match=r"^Cannot listen at .*192\.0\.2\.1 is no address of this machine; "):
        serve(scheme, "192.0.2.1")
    names["pi"] = socket.gaierror(socket.EAI_NONAME, "no")
    with pytest.raises(WireError, match=r"^Cannot listen at .*: the name pi is unknown here; "):
        serve(scheme, "pi")
    with closing(serve(scheme, "127.0.0.1")) as server:
        by = rf"port {server.address.port} is taken by .* \(process {os.getpid()}\); "
        with pytest.raises(WireError, match=by):
            serve(scheme, "127.0.0.1", server.address.port)


def test_every_reason_not_to_listen_has_words_of_its_own(monkeypatch, tmp_path):
    (tmp_path / "least").write_text("1024\n")
    monkeypatch.setattr(trouble, "_LEAST_PORT", tmp_path / "least")
    monkeypatch.setattr(trouble, "_by", lambda port: "")
    cases = [(errno.EACCES, 443), (errno.EACCES, 8001), (errno.EADDRINUSE, 1), (errno.EADDRNOTAVAIL, 1)]
    cases += [(errno.EMFILE, 1), (errno.EIO, 1), (None, 1)]
    said = [str(trouble.not_listening("zmq://192.0.2.1", "192.0.2.1", port, code)) for code, port in cases]
    assert "this user may not listen at a port below 1024" in said[0]
    assert len(set(said)) == len(cases)


ORDINARY = """
import os
from cutlayer.errors import WireError
from cutlayer.wire.connect import connect
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts
from tests.wire.ends import message
from tests.wire.test_listening import serve

plain, short = Security(insecure=True), Timeouts(connect_s=0.2)

def ask(scheme):
    connect(f"{scheme}://192.0.2.1:1", short, security=plain).request(message(1), 5)

def attempts(port):
    servers = [(serve, scheme, "127.0.0.1", port) for scheme in ("grpc", "zmq", "http")]
    for attempt, *words in [*servers, (ask, "grpc"), (ask, "zmq")]:
        try:
            attempt(*words).close()
        except WireError as error:
            yield str(error)

# Everything is imported before another user may no longer read it.
assert len(list(attempts(0))) == 2
open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w").write("1024")
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print(*attempts(443), sep="\\n")
"""


def test_an_ordinary_user_and_a_machine_without_a_network():
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare, for a network namespace with a port limit of its own")
    lives = 'ip link set lo up && exec "$@"'
    within = ["unshare", "-n", "sh", "-c", lives, "sh"]
    if subprocess.run([*within, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the system allows no network namespace here")
    done = subprocess.run([*within, sys.executable, "-c", ORDINARY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *listening, grpc, zmq = done.stdout.splitlines()
    assert len(listening) == 3, done.stdout
    for said in listening:
        assert "127.0.0.1:443: this user may not listen at a port below 1024; choose a port of 1024 or more" in said
    for said in (grpc, zmq):
        assert "there is no route to 192.0.2.1; check that the machine is on" in said
