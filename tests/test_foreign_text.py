"""No text of a peer, of a file or of a library steers what shows it: terminal, log, page, table."""

import csv
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from cutlayer import terminal
from cutlayer.cli import main
from cutlayer.errors import DataError, Refused
from cutlayer.foreign import cell
from cutlayer.models.manifest import tail_name
from cutlayer.onnx.session import open_half
from cutlayer.records import profile_files
from cutlayer.records.run import load_result
from cutlayer.report.kit.columns import columns
from cutlayer.report.runs import page
from cutlayer.report.runs.terminal import text as as_text
from cutlayer.spec import TensorSpec
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.handshake import metadata_request
from cutlayer.wire.message import Inference, infer_request
from tests.cloud_process import CloudProcess
from tests.onnx.onnx_models import chain
from tests.report.conftest import result
from tests.tiny_split import PATIENCE, SMASHED, write_model, write_split

EVIL = "\x1b]0;owned\x07\x1b[2J\r\n\u202egnp\u200b\0\x9b1m\u2028"
"""Sets the title of a terminal, clears it, begins a line, turns the direction, hides, ends, colors."""

GOLDEN = Path(__file__).parent / "golden"

FORGED = "\n127.0.0.1:1 is connected"


def assert_harmless(text, *, owned=True):
    """Nothing but line breaks steers; the harmless part of the text has come through, unless nothing should have."""
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    steering = {f"U+{ord(c):04X}" for c in text if c != "\n" and unicodedata.category(c) in kinds}
    assert not steering, f"{steering} in {text!r:.400}"
    if owned:
        assert "owned" in text, text


def run(capfd, *words):
    """What a command prints, on both outputs, and its exit code."""
    sys.argv = ["cutlayer", *map(str, words)]
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    return out + err, code


@pytest.fixture(autouse=True)
def _arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", [])


class Unshown(Refused):
    """A refusal of a server that escapes nothing."""

    def __init__(self, code="INTERNAL"):
        super().__init__(code, EVIL)
        self.code = code

    def __str__(self):
        return EVIL


class Hostile:
    """Refuses every request."""

    ready = True

    def __init__(self, code="INTERNAL"):
        self._refused = Unshown(code)

    def submit(self, request, arrived_ns, caller, *, lend=False):
        caller.answer(self._refused, lambda: None)


@contextmanager
def hostile_server(scheme, code="INTERNAL"):
    with closing(listen(f"{scheme}://127.0.0.1:0", Hostile(code), PATIENCE)) as server:
        yield str(server.address)


@pytest.mark.parametrize("scheme", ["grpc", "zmq"])
def test_a_hostile_server_to_a_device(folder, scheme, capfd, caplog):
    # The server is in this process, and `cutlayer cloud` in an earlier test has turned on its lines about clients.
    caplog.set_level("WARNING", "cutlayer.wire.visitors")
    with hostile_server(scheme) as address:
        printed, code = run(capfd, "edge", folder, "--connect", address, "--data", "random", "--count", 1)
    assert code == 2
    assert_harmless(printed)
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize("scheme", ["grpc", "zmq"])
def test_a_hostile_server_to_the_doctor(folder, scheme, capfd, monkeypatch):
    # The packages are loaded in children of their own, which takes long.
    monkeypatch.setattr("cutlayer.doctor.packages.check_packages", list)
    monkeypatch.setattr("cutlayer.doctor.machine.check_machine", lambda _: [])
    with hostile_server(scheme) as address:
        printed, _ = run(capfd, "doctor", folder, "--connect", address)
    assert_harmless(printed)


@pytest.mark.parametrize("scheme", ["grpc", "zmq"])
def test_a_code_that_is_not_one(scheme):
    with hostile_server(scheme, EVIL) as address, closing(connect(address, PATIENCE)) as transport:
        with pytest.raises(Refused) as raised:
            transport.submit(infer_request(Inference("m", "v", "s-1", {})), 5.0).result(5.0)
        assert_harmless(f"{raised.value} {raised.value.code}")


class Abort(grpc.GenericRpcHandler):
    """Ends every call with a status of gRPC, which our servers send for few."""

    def service(self, details):
        def abort(data, context):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, EVIL)

        return grpc.unary_unary_rpc_method_handler(abort)


def test_the_details_of_a_status():
    server = grpc.server(ThreadPoolExecutor(1), handlers=(Abort(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with closing(connect(f"grpc://127.0.0.1:{port}", PATIENCE)) as transport:
        with pytest.raises(Refused) as raised:
            transport.request(metadata_request("m", ""), 5.0)
        assert_harmless(str(raised.value))
    server.stop(0)


@pytest.mark.parametrize("scheme", ["grpc", "zmq"])
def test_a_hostile_client_to_a_cloud(tmp_path, scheme):
    """The folder is hostile as well: its cut has the name of a forged line."""
    manifest = replace(write_split(tmp_path / "split"), cut=EVIL + FORGED)
    manifest.save(tmp_path / "split")
    tensor = Encoded("FP32", (1, 2, 6, 6), bytes(288), {"codec": EVIL, EVIL: 1})
    session = {"protocol": 1, "session": EVIL + FORGED, "defense": EVIL}
    name, version, both = tail_name(manifest), manifest.version, {EVIL + "smashed": tensor, "smashed": tensor}
    requests = [
        metadata_request(EVIL + FORGED, EVIL),
        infer_request(Inference(EVIL, EVIL, EVIL[:20] + FORGED, both, session)),
        infer_request(Inference(name, version, EVIL[:20] + FORGED, both, session)),
        infer_request(Inference(name, version, EVIL, {"smashed": tensor}, session)),
    ]
    with CloudProcess(tmp_path / "split", f"{scheme}://127.0.0.1:0", tmp_path / "tap") as cloud:
        with closing(connect(cloud.address, PATIENCE)) as transport:
            for request in requests:
                with pytest.raises(Refused) as raised:
                    transport.request(request, 10.0)
                assert_harmless(str(raised.value), owned=False)
        assert cloud.stop() == 0
        log = cloud.errors
    assert_harmless(log)
    assert sum("is connected" in line and line.endswith("is connected") for line in log.splitlines()) == 1, log


def test_a_hostile_split_folder(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("cutlayer.doctor.packages.check_packages", list)
    monkeypatch.setattr("cutlayer.doctor.machine.check_machine", lambda _: [])
    manifest = replace(write_split(tmp_path / "split"), model=f"{EVIL}.onnx", cut=EVIL, data=EVIL)
    manifest.save(tmp_path / "split")
    printed, _ = run(capfd, "doctor", tmp_path / "split")
    assert_harmless(printed)
    printed, code = run(capfd, "edge", tmp_path / "split", "--data", EVIL)
    assert code == 2
    assert_harmless(printed)
    damaged = json.loads((tmp_path / "split/split.json").read_text())
    damaged["input"][EVIL] = 1
    (tmp_path / "split/split.json").write_text(json.dumps(damaged))
    printed, code = run(capfd, "cloud", tmp_path / "split")
    assert code == 2
    assert_harmless(printed)


def test_a_hostile_model(tmp_path, capfd):
    """Names of nodes and tensors, through `cuts` and `split`, and the messages of ONNX Runtime that quote them."""
    model = onnx.load(chain(tmp_path / "plain.onnx"))
    fixed = {"image", "logits", *(tensor.name for tensor in model.graph.initializer)}
    for node in model.graph.node:
        node.name = EVIL + node.name
        for names in (node.input, node.output):
            names[:] = [name if name in fixed else EVIL + name for name in names]
    path = tmp_path / "evil\x1b[2J\udce9.onnx"
    onnx.save(model, str(path))
    printed, code = run(capfd, "cuts", path)
    assert code == 0
    assert_harmless(printed)
    # `split` refuses a name that is no UTF-8, before it opens the file.
    path = path.rename(tmp_path / "evil\x1b[2J.onnx")
    printed, code = run(capfd, "split", path, "--cut", "none", "--out", tmp_path / "out")
    assert code == 2
    assert_harmless(printed)


def test_a_node_that_fails_prints_nothing(tmp_path, capfd):
    """ONNX Runtime would print the name of the node as it is."""
    node = helper.make_node("Reshape", ["smashed", "shape"], ["logits"], name=EVIL)
    shape = numpy_helper.from_array(np.array([-1, 7]), "shape")
    write_model(tmp_path / "tail.onnx", [node], ("smashed", SMASHED.shape), ("logits", (7,)), [shape])
    half = open_half(tmp_path / "tail.onnx", 1, {"smashed": SMASHED}, {"logits": TensorSpec((7,))})
    with pytest.raises(Exception, match="owned"):
        half(np.zeros((1, *SMASHED.shape), np.float32))
    assert capfd.readouterr() == ("", "")


def renamed(value):
    """A record in which every text is hostile, and every key that is a name."""
    if isinstance(value, dict):
        return {key: renamed(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [renamed(entry) for entry in value]
    return f"{value}{EVIL}<script>" if isinstance(value, str) else value


def test_a_hostile_record(tmp_path):
    data = result("r1", 0.0)
    kept = {"schema": data["schema"], "id": data["id"], "defense": data["defense"]}
    hostile = renamed(data) | kept
    (tmp_path / "r1").mkdir()
    (tmp_path / "r1/result.json").write_text(json.dumps(hostile))
    (tmp_path / "folder\x1b[2J\u202e").mkdir()
    (tmp_path / "folder\x1b[2J\u202e/result.json").write_text("{")
    html = page.write(tmp_path).read_text()
    assert_harmless(html)
    assert html.count("<script") == 1, "the page's own, which its policy names by its hash"
    assert_harmless(as_text([load_result(hostile)]))


def test_a_hostile_profile(tmp_path, capfd):
    """Its terminal form, its page, its table: `compare` reads the file of somebody else."""
    shutil.copytree(GOLDEN / "profile", tmp_path / "before")
    data = json.loads((tmp_path / "before/profile.json").read_text())
    data["model"], data["images"], data["notes"] = EVIL, EVIL, [EVIL]
    data["machine"]["processor"] = EVIL
    for cut in data["cuts"]:
        cut["cut"] = "=HYPERLINK(owned)" + EVIL
    (tmp_path / "after").mkdir()
    (tmp_path / "after/profile.json").write_text(json.dumps(data))
    printed, _ = run(capfd, "compare", tmp_path / "before", tmp_path / "after")
    assert_harmless(printed)
    profile = profile_files.read(tmp_path / "after")
    profile_files.save(tmp_path / "after", profile)
    table = (tmp_path / "after/profile.csv").read_text()
    assert_harmless(table)
    for row in csv.DictReader(table.splitlines()):
        assert row["cut"].startswith("'=HYPERLINK")
        assert float(row["end_to_end_ns"]) > 0


def test_a_long_name_can_be_copied_from_a_table():
    name = "StatefulPartitionedCall/model/" * 20
    assert name in columns(["cut"], [[name]])
    assert cell(name) == name
    assert len(columns(["cut"], [["x" * 10**6]])) < 3000


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("=1+1", "'=1+1"),
        ("+1+1", "'+1+1"),
        ("-1+1", "'-1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1+1", "'  =1+1"),
        ("\t=1+1", "\\t=1+1"),
        ("\r=1+1", "\\r=1+1"),
        ("＝1+1", "'＝1+1"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        (-0.5, -0.5),
        (3, 3),
        (None, None),
        ("features.3", "features.3"),
        ("日本-é", "日本-é"),
    ],
)
def test_a_cell_is_never_a_formula(value, right):
    assert cell(value) == right


def fail():
    raise ValueError(EVIL)


def test_log_warnings_and_threads_go_through_the_terminal(capsys):
    with terminal.listening(), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.getLogger("cutlayer.anything").warning("a request: %s", EVIL + FORGED)
        warnings.warn(EVIL + FORGED, stacklevel=1)
        try:
            raise ValueError(EVIL)
        except ValueError:
            logging.getLogger("cutlayer.anything").exception("failed")
            sys.excepthook(*sys.exc_info())
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    log = capsys.readouterr().err
    assert_harmless(log)
    assert log.count("ValueError: \\x1b]0;owned") == 3
    assert not any(line == FORGED.strip() for line in log.splitlines())


def test_a_letter_that_the_terminal_lacks_is_escaped():
    done = subprocess.run(
        [sys.executable, "-c", "from cutlayer.terminal import tell; tell('café 日本')"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        check=True,
    )
    assert done.stdout == b"caf\xe9 \\u65e5\\u672c\n"


def test_an_error_of_ours_is_one_bounded_line():
    assert_harmless(str(DataError(EVIL * 1000)))
    assert len(str(DataError(EVIL * 1000))) <= 4000
