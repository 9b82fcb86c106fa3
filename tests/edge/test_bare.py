"""A device with numpy, ONNX Runtime, one transport and their dependencies, without any other installed package."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cutlayer.wire import certs
from tests.cloud_process import CloudProcess
from tests.onnx.onnx_models import chain, split_onnx

ALONE = """
import pkgutil, sys
ours = {"cutlayer"}
brought_along = {"google", "flatbuffers", "packaging", "typing_extensions"}
allowed = {"numpy", "onnxruntime", "zmq", "grpc", *brought_along, *ours, *sys.stdlib_module_names}
for module in pkgutil.iter_modules():
    if module.name not in allowed or module.name == sys.argv[3]:
        sys.modules[module.name] = None
"""

SEND = """
from pathlib import Path
import numpy as np
from cutlayer.data.splits import Dataset, Splits
from cutlayer.edge.offline.policy import OfflinePolicy
from cutlayer.edge.send import send
folder, address, _, queue = sys.argv[1:]
images = np.random.default_rng(0).random((6, 3, 8, 8), np.float32)
part = Dataset(images, np.zeros(6, np.int64))
splits = Splits("noise", (), part, part, part, part)
policy = OfflinePolicy("queue", Path(queue), wait_s=30.0)
print(send(Path(folder), address, data=splits, count=6, warmup=1, codec="int8", policy=policy))
"""

CONNECT = """
from cutlayer.errors import ConfigError
from cutlayer.wire.connect import connect, listen
for end in (connect, lambda address: listen(address, None)):
    try:
        end(sys.argv[2])
    except ConfigError as error:
        print(error)
"""


def alone(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", ALONE + code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """A folder with the head of a model from an ONNX file, and the whole split beside it."""
    folder = tmp_path_factory.mktemp("device")
    split_onnx(chain(folder / "m.onnx"), "r1", folder / "whole")
    (folder / "split").mkdir()
    for name in ("split.json", "head.onnx"):
        (folder / "split" / name).write_bytes((folder / "whole" / name).read_bytes())
    return folder


@pytest.mark.parametrize(("transport", "other"), [("grpc", "zmq"), ("zmq", "grpc")])
def test_a_bare_device_is_answered_by_a_real_server(device, tmp_path, transport, other):
    with CloudProcess(device / "whole", f"{transport}://127.0.0.1:0") as cloud:
        done = alone(SEND, device / "split", cloud.address, other, tmp_path / "queue")
        assert done.returncode == 0, done.stderr
        assert "(n = 6)" in done.stdout
        assert "while the server was away: nothing" in done.stdout
        assert cloud.stop() == 0


@pytest.mark.parametrize(("transport", "package", "module"), [("grpc", "grpcio", "grpc"), ("zmq", "pyzmq", "zmq")])
def test_a_transport_that_is_not_installed_is_named(transport, package, module):
    done = alone(CONNECT, "", f"{transport}://127.0.0.1:8001", module)
    assert done.returncode == 0, done.stderr
    sentence = f"{transport}:// needs the package {package}, which cannot be imported here"
    assert [line.startswith(sentence) for line in done.stdout.splitlines()] == [True, True], done.stdout


PAGE = Path(__file__).parents[2] / "docs/device.md"
CAMERA = """
import numpy
def camera():
    yield from numpy.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), numpy.uint8)
"""


@pytest.mark.parametrize("queued", [False, True])
def test_the_programs_of_the_page_on_devices(device, tmp_path, queued):
    certs.init(tmp_path / "keys")
    at_once, with_queue = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    program = at_once.partition("edge =")[0] + with_queue if queued else at_once
    keys = ("--ca", "ca.pem", "--cert", "server.pem", "--key", "server.key")
    options = tuple(word if word.startswith("--") else str(tmp_path / "keys" / word) for word in keys)
    with CloudProcess(device / "whole", "grpc://127.0.0.1:0", options=options) as cloud:
        for theirs, here in (
            ("grpc://cloud.example:8001", cloud.address),
            ("/var/lib/cutlayer/split", device / "split"),
            ("/var/lib/cutlayer/keys", tmp_path / "keys"),
            ("/var/lib/cutlayer/queue", tmp_path / "queue"),
        ):
            program = program.replace(theirs, str(here))
        done = alone(CAMERA + program + "\nassert index == 4\ntransport.close()\n", "", "", "zmq")
        assert done.returncode == 0, done.stderr
        assert cloud.stop() == 0
