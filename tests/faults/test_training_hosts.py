"""A training between two virtual hosts, with TLS or CURVE, ends with the bits of one in a single process."""

import contextlib
import subprocess
import sys

import pytest
import torch

import cutlayer
from cutlayer.errors import ConfigError
from cutlayer.network.namespaces import two_hosts
from cutlayer.network.profiles import network_named
from cutlayer.protocols.checkpoint import Checkpoints
from cutlayer.records import training
from cutlayer.wire import certs

PLAN = {
    "data": "digits", "model": "lenet_bn", "cut": "pool1", "protocol": "splitfed-v1", "clients": 2, "rounds": 2,
    "samples": 120, "test": 40,
}  # fmt: skip

TLS = ("--ca", "ca.pem", "--cert", "{}.pem", "--key", "{}.key", "--token-file", "token")
FILES = {
    "grpc": (TLS, TLS),
    "zmq": (
        ("--curve-key", "curve-server.key", "--allow", "clients"),
        ("--curve-key", "curve-client.key", "--curve-server", "curve-server.pub"),
    ),
}


@pytest.fixture
def cable():
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(two_hosts(network_named("loopback")))
        except ConfigError as error:
            pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("transport", FILES)
def test_two_hosts_with_encryption_train_the_bits_of_one_process(tmp_path, cable, transport):
    device, server = cable.device, cable.server
    whole = cutlayer.train(PLAN, out=tmp_path / "whole", compare=False, say=lambda text: None)
    certs.init(tmp_path / "keys", (server.address,))

    def started(host, side, *words):
        options = [
            word if word.startswith("--") else str(tmp_path / "keys" / word.format(side))
            for word in FILES[transport][side == "client"]
        ]
        command = [*host.within, sys.executable, "-m", "cutlayer.cli", *map(str, words), *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    plan, out = tmp_path / "whole" / whole.id / training.PLAN, tmp_path / "apart"
    listen = f"{transport}://{server.address}:0"
    with contextlib.ExitStack() as ends:
        cloud = started(server, "server", "cloud", "--train", plan, "--listen", listen, "--out", out, "--no-compare")
        ends.callback(cloud.kill)
        words = cloud.stdout.readline().split()
        assert words[:1] == ["ready"], cloud.communicate()
        edges = [
            started(device, "client", "edge", "--train", "--client", f"{k}/2", "--connect", words[1], "--out", out)
            for k in (1, 2)
        ]
        for process in edges:
            ends.callback(process.kill)
        for process in (*edges, cloud):
            _, errors = process.communicate(timeout=250)
            assert process.returncode == 0, errors
    ended = {
        name: Checkpoints(tmp_path / name / whole.id / "server", whole.id).load(2)[0] for name in ("whole", "apart")
    }
    assert ended["whole"].keys() == ended["apart"].keys()
    assert all(torch.equal(value, ended["apart"][name]) for name, value in ended["whole"].items())
