"""Both sides as real processes, without torch; and heads in torch against heads in ONNX."""

import select
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from cutlayer.cloud.tap import read
from cutlayer.split_folder import open_split
from cutlayer.wire import certs
from tests.tiny_split import CLASSES, images, write_split

WITHOUT_TORCH = "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None\n"

SERVE = (
    WITHOUT_TORCH
    + """
from pathlib import Path
from cutlayer.cloud.serve import serve
from cutlayer.wire.security import Security
folder, listen, tap, *files = sys.argv[1:]
security = Security(**{name: Path(path) for name, path in (file.split("=") for file in files)})
serve(Path(folder), listen, tap=Path(tap), threads=1, security=security)
"""
)

SEND = (
    WITHOUT_TORCH
    + """
from pathlib import Path
import numpy as np
from cutlayer.data.splits import Dataset, Splits
from cutlayer.edge.send import send
from cutlayer.wire.security import Security
folder, address, data, record, *files = sys.argv[1:]
security = Security(**{name: Path(path) for name, path in (file.split("=") for file in files)})
part = Dataset(*np.load(data).values())
splits = Splits("toy", (), part, part, part, part)
print(send(Path(folder), address, data=splits, count=len(part), private=2, record=Path(record), security=security))
assert not [name for name, module in sys.modules.items() if name.startswith("torch") and module]
"""
)


def python(code, *arguments):
    return [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]


def run(code, *arguments):
    command = python(code, *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def serving(folder, address, tap, *files):
    """Start a server process; yield the words of its ready line and the process, and kill it at the end."""
    server = subprocess.Popen(
        python(SERVE, folder, address, tap, *files), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert select.select([server.stdout], [], [], 60)[0], "not ready in a minute"
        yield server.stdout.readline().split(), server
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_two_processes_without_torch(tmp_path, transport, stop):
    manifest = write_split(tmp_path / "split")
    np.savez(tmp_path / "data.npz", images=images(5), labels=np.arange(5) % CLASSES)
    with serving(tmp_path / "split", f"{transport}://127.0.0.1:0", tmp_path / "tap") as (ready, server):
        assert ready[0] == "ready"
        assert ready[2:] == ["tiny@relu", f"version={manifest.version}"]
        done = run(SEND, tmp_path / "split", ready[1], tmp_path / "data.npz", tmp_path / "record.npz")
        assert done.returncode == 0, done.stderr
        assert "end_to_end" in done.stdout
        server.send_signal(stop)
        _, errors = server.communicate(timeout=20)
    assert (server.returncode, errors) == (0, "")
    with np.load(tmp_path / "record.npz") as record:
        assert set(record["id"]) <= {header["id"] for header, _ in read(tmp_path / "tap")}


@pytest.mark.parametrize(
    ("transport", "cloud", "edge"),
    [
        ("grpc", "ca=ca.pem cert=server.pem key=server.key", "ca=ca.pem cert=client.pem key=client.key"),
        ("zmq", "curve_key=curve-server.key allow=clients", "curve_key=curve-client.key curve_server=curve-server.pub"),
    ],
)
def test_two_processes_that_authenticate_each_other(tmp_path, transport, cloud, edge):
    certs.init(tmp_path / "certs")
    write_split(tmp_path / "split")
    np.savez(tmp_path / "data.npz", images=images(2), labels=np.arange(2) % CLASSES)
    cloud, edge = ([word.replace("=", f"={tmp_path}/certs/") for word in files.split()] for files in (cloud, edge))
    with serving(tmp_path / "split", f"{transport}://127.0.0.1:0", tmp_path / "tap", *cloud) as (ready, server):
        sending = (tmp_path / "split", ready[1], tmp_path / "data.npz", tmp_path / "record.npz")
        done = run(SEND, *sending, *edge)
        assert done.returncode == 0, done.stderr
        stranger = run(SEND, *sending)
        assert stranger.returncode != 0
        assert "Refused" in stranger.stderr
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=20)
    # gRPC itself logs each handshake that failed.
    assert server.returncode == 0, errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_a_taken_port_is_one_sentence(tmp_path, transport):
    write_split(tmp_path / "split")
    with serving(tmp_path / "split", f"{transport}://127.0.0.1:0", tmp_path / "tap") as (ready, _):
        second = run(SERVE, tmp_path / "split", ready[1], tmp_path / "tap2")
    assert second.returncode != 0
    assert f"WireError: Cannot listen at {ready[1]}" in second.stderr


@pytest.mark.parametrize(
    "module",
    [
        "cutlayer.edge.send",
        "cutlayer.split_folder",
        "cutlayer.cloud.serve",
        "cutlayer.wire.transport",
        "cutlayer.wire.zmq.client",
    ],
)
def test_modules_of_the_device_and_the_server_import_without_torch(module):
    subprocess.run(python(WITHOUT_TORCH + f"import {module}"), check=True, timeout=60)


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    """A real split folder: LeNet, cut in the middle, random weights."""
    pytest.importorskip("torch")
    from cutlayer.models.folder import save
    from cutlayer.models.halves import split
    from cutlayer.models.zoo import build
    from cutlayer.spec import image_spec

    folder, spec = tmp_path_factory.mktemp("lenet") / "split", image_spec(1, 28, 28)
    save(
        folder,
        split(build("he_lenet", spec, 10), "ReLU2", spec),
        model="he_lenet",
        classes=10,
        defense={"name": "none"},
        data=None,
    )
    return folder


@pytest.mark.parametrize("head", ["onnx", "torch"])
def test_every_transport_gives_the_same_bits_for_the_same_head(lenet, head):
    from cutlayer.cloud.service import Service
    from cutlayer.defenses.base import Defense
    from cutlayer.edge.client import Edge
    from cutlayer.edge.pipeline import Pipeline
    from cutlayer.wire.codecs.raw import Raw
    from cutlayer.wire.connect import connect, listen

    manifest = open_split(lenet).manifest
    batch = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    pipeline = Pipeline(open_split(lenet).head(head), Defense(), Raw())
    for tail in ("onnx", "torch"):
        answers = {}
        for address in ("grpc://127.0.0.1:0", "zmq://127.0.0.1:0", "inprocess://lenet"):
            server = listen(address, Service(manifest, open_split(lenet).tail(tail, threads=1)))
            client = connect(str(server.address))
            answers[address] = Edge(manifest, pipeline, client).infer(batch, 0)[0]
            client.close()
            server.close()
        reference = answers.pop("inprocess://lenet")
        for logits in answers.values():
            np.testing.assert_array_equal(logits, reference)


def test_heads_and_tails_in_torch_and_onnx_agree(lenet):
    batch = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    smashed = {head: open_split(lenet).head(head)(batch) for head in ("onnx", "torch")}
    np.testing.assert_allclose(smashed["onnx"], smashed["torch"], atol=1e-5)
    logits = {tail: open_split(lenet).tail(tail, threads=1)(smashed["onnx"]) for tail in ("onnx", "torch")}
    np.testing.assert_allclose(logits["onnx"], logits["torch"], atol=1e-4)
