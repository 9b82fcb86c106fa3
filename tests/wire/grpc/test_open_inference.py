"""The Open Inference Protocol of other projects: their client against our server, our device against their server."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cutlayer.cloud.service import Service
from cutlayer.errors import ConfigError, SplitError, Unreachable
from cutlayer.split_folder import open_split
from cutlayer.wire import certs
from cutlayer.wire.codecs.fp16 import Float16
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.handshake import metadata_request
from cutlayer.wire.security import Security
from tests.tiny_split import PATIENCE, SMASHED, edge_at, images, serving, write_split

HERE = Path(__file__).parent


@pytest.fixture
def tail(folder):
    return open_split(folder).tail(threads=1)


def python(script, *arguments):
    return [sys.executable, "-W", "error", str(HERE / script), *map(str, arguments)]


@pytest.fixture(params=["plain text", "mutual TLS"])
def report(request, folder, tail, tmp_path):
    """The answers of our server to the public client."""
    pytest.importorskip("rapidjson", reason="tritonclient is not installed")
    security, files = Security(), []
    if request.param == "mutual TLS":
        certs.init(tmp_path)
        security = Security(ca=tmp_path / "ca.pem", cert=tmp_path / "server.pem", key=tmp_path / "server.key")
        files = [tmp_path / name for name in ("ca.pem", "client.key", "client.pem")]
    manifest, smashed = open_split(folder).manifest, np.ones((2, *SMASHED.shape), np.float32)
    np.save(tmp_path / "smashed.npy", smashed)
    service = Service(manifest, tail)
    server = listen("grpc://127.0.0.1:0", service, security=security)
    try:
        arguments = server.address.netloc, "tiny@relu", manifest.version, tmp_path / "smashed.npy", *files
        command = python("triton_client.py", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    finally:
        server.close()
        service.drain()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_public_client_is_answered(report, folder, tail):
    version = open_split(folder).manifest.version
    smashed = np.ones((2, *SMASHED.shape), np.float32)
    assert report["live"]
    assert report["ready"]
    assert report["models"] == {"tiny@relu": True, "another": False}
    assert report["server"]["name"] == "cutlayer"
    assert report["model"]["versions"] == [version]
    assert report["model"]["inputs"] == [{"name": "smashed", "datatype": "FP32", "shape": ["-1", "2", "6", "6"]}]
    assert report["model"]["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": ["-1", "3"]}]
    np.testing.assert_array_equal(np.float32(report["logits"]), tail(smashed))
    assert report["versioned"] == version
    assert report["twice"] == [["decode_ns", "queue_ns", "reply_ns", "tail_ns"]] * 2
    (another, shape, datatype) = report["errors"]
    assert another[0] == "StatusCode.NOT_FOUND"
    assert "This server holds tiny@relu" in another[1]
    assert shape[0] == datatype[0] == "StatusCode.INVALID_ARGUMENT"
    assert "Send float32 of shape Nx2x6x6" in shape[1]

    assert set(report["streamed"]["answers"]) == {"a", "c"}
    for request_id, sent in (("a", smashed), ("c", smashed + 1)):
        np.testing.assert_allclose(np.float32(report["streamed"]["answers"][request_id]), tail(sent), rtol=1e-5)
    (problem,) = report["streamed"]["errors"]
    assert "Send float32 of shape Nx2x6x6" in problem


@contextmanager
def foreign(tail, model="exported", contents="raw"):
    """A server of another project that hosts this tail; yields its address."""
    command = python("foreign_server.py", tail, model, "INPUT__0", "OUTPUT__0", contents)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"oip+grpc://127.0.0.1:{int(server.stdout.readline())}/{model}"
            server.stdin.close()
            server.wait(20)
        finally:
            server.kill()


@contextmanager
def connected(address):
    client = connect(address, PATIENCE)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("contents", ["raw", "typed"])
def test_our_edge_asks_another_server(folder, tail, contents):
    with foreign(folder / "tail.onnx", contents=contents) as address, connected(address) as client:
        edge = edge_at(folder, client)
        for index, n in enumerate((1, 3)):
            logits, trace = edge.infer(images(n, index), index)
            np.testing.assert_allclose(logits, tail(edge._pipeline.wire(images(n, index), None)), rtol=1e-6)
        assert trace.tail_ns == trace.queue_ns == 0
        assert trace.network_ns > 0


def test_a_server_that_hosts_something_else_is_refused_at_the_handshake(folder, tmp_path):
    with foreign(folder / "head.onnx") as address, connected(address) as client:
        with pytest.raises(
            SplitError, match="takes FP32 of shape -1x1x6x6, but this split's tail takes FP32 of shape Nx2x6x6"
        ):
            edge_at(folder, client)
        with connected(address.replace("exported", "other")) as wrong, pytest.raises(SplitError, match="unknown model"):
            edge_at(folder, wrong)


def test_codecs_that_another_server_cannot_know_are_refused(folder):
    with foreign(folder / "tail.onnx") as address, connected(address) as client:
        edge = edge_at(folder, client, codec=Float16())
        with pytest.raises(ConfigError, match="codec raw"):
            edge.infer(images(1), 0)
        edge_at(folder, client).infer(images(1), 0)


def test_our_own_server_is_such_a_server_too(folder, tail):
    with serving(folder, "grpc") as ours, connected(f"oip+grpc://{ours.address.netloc}") as client:
        edge = edge_at(folder, client)
        logits, _ = edge.infer(images(2), 0)
        np.testing.assert_array_equal(logits, tail(edge._pipeline.wire(images(2), None)))


def test_a_second_session_asks_for_its_own_model(folder, tmp_path):
    """If the address names no model, the split does; the handshake of another session does not count."""
    replace(write_split(tmp_path / "other"), model="another").save(tmp_path / "other")
    with serving(folder, "grpc") as ours, connected(f"oip+grpc://{ours.address.netloc}") as client:
        edge = edge_at(folder, client)
        with pytest.raises(SplitError, match="another@relu"):
            edge_at(tmp_path / "other", client)
        edge.infer(images(1), 0)


def test_nothing_listens_at_an_address_for_clients(folder, tail):
    with pytest.raises(ConfigError, match="grpc://"):
        listen("oip+grpc://127.0.0.1:0", Service(open_split(folder).manifest, tail))


def test_a_request_on_a_closed_connection_gets_an_error():
    client = connect("oip+grpc://127.0.0.1:1/exported")
    line = client._line
    # The state in which another thread finds it that is about to send a request.
    line._connected = True
    line.close()
    with pytest.raises(Unreachable, match="closed on this side"):
        line.request(metadata_request("exported", ""), 5)
