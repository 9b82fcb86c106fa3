"""A room and a device on two virtual hosts, over TLS: by the join code alone, and to nobody without it."""

import contextlib
import re
import subprocess
import sys

import pytest

from cutlayer.errors import ConfigError
from cutlayer.network.namespaces import two_hosts
from cutlayer.network.profiles import network_named
from cutlayer.wire.certs import init
from tests.live.rooms import PATIENCE_S, write_room


@pytest.fixture
def cable():
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(two_hosts(network_named("loopback")))
        except ConfigError as error:
            pytest.skip(str(error))


def command(host, *words):
    return [*host.within, sys.executable, "-m", "cutlayer.cli", *map(str, words)]


def test_a_device_on_another_machine_joins_with_one_command(tmp_path, cable):
    device, server, *_ = cable
    split, data = write_room(tmp_path)
    keys = tmp_path / "keys"
    init(keys, [server.address])
    opening = command(
        server, "live", split, "--data", data, "--attacks", "mean-image", "--host", server.address, "--out",
        tmp_path / "out", "--cert", keys / "server.pem", "--key", keys / "server.key", "--curve-key",
        keys / "curve-server.key",
    )  # fmt: skip
    with subprocess.Popen(opening, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as room:
        try:
            told = []
            for line in room.stdout:
                told.append(line)
                if line.startswith("ready"):
                    break
            code = re.search(r"--join '(\S+)'", "".join(told))[1]
            assert code.startswith(f"https://{server.address}:")
            for transport in ("grpc", "zmq"):
                joining = command(
                    device, "edge", "--join", code, "--data", data, "--count", 5, "--transport", transport,
                    "--share-original",
                )  # fmt: skip
                done = subprocess.run(joining, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
                assert (done.returncode, done.stderr) == (0, "")
                assert done.stdout.startswith(f"joined https://{server.address}:")
            forged = code[:-64] + "0" * 64
            done = subprocess.run(
                command(device, "edge", "--join", forged, "--data", data), capture_output=True, text=True,
                timeout=PATIENCE_S, check=False,
            )  # fmt: skip
            assert done.returncode == 2
            assert "is not the one of this join code" in done.stderr
        finally:
            room.terminate()
            _, errors = room.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in errors
