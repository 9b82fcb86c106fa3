"""Splits of several tensors between a device and a server: over the wire they give what the file gives."""

import time
from contextlib import closing

import numpy as np
import pytest

from cutlayer.cloud import tap as tap_files
from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import Tap
from cutlayer.defenses.base import Defense
from cutlayer.edge.client import Edge
from cutlayer.edge.pipeline import Pipeline
from cutlayer.edge.send import send
from cutlayer.errors import DataError, SplitError, WireError
from cutlayer.onnx.given import Given
from cutlayer.onnx.int8 import quantize_head
from cutlayer.split_folder import open_split
from cutlayer.tensors import parts, random_batch
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect, listen
from tests.cloud_process import CloudProcess
from tests.command import cutlayer
from tests.onnx.onnx_models import split_onnx
from tests.onnx.test_named import STATES, detector, image_and_more, outputs_of, recurrent, two_answers


def edge_of(folder, transport, codec="raw"):
    split = open_split(folder)
    return Edge(split.manifest, Pipeline(split.head(), Defense(), codec_named(codec)), transport)


def service_of(folder, tap=None):
    split = open_split(folder)
    return Service(split.manifest, split.tail(threads=1), tap)


@pytest.fixture(params=["grpc", "zmq"])
def served(request):
    """Serve a split folder in this process, and give the connection to it."""
    opened = []

    def serve(folder, tap=None):
        service = service_of(folder, tap)
        server = listen(f"{request.param}://127.0.0.1:0", service)
        transport = connect(str(server.address))
        opened.extend([transport.close, server.close, service.drain])
        return transport

    yield serve
    for close in opened:
        close()


def recurrence(path, images):
    """The answers of the whole file to a sequence, its state handed on."""
    h, c, answers = np.zeros((2, 1, 4), np.float32), np.zeros((2, 1, 3), np.float32), []
    for image in images:
        out = outputs_of(path, {"image": image[None], "h": h, "c": c})
        h, c = out["hn"], out["cn"]
        answers.append(out)
    return answers


@pytest.mark.parametrize("codec", ["raw", "fp16", "int8+zstd"])
def test_state_is_handed_on_from_request_to_request(tmp_path, served, codec):
    path = recurrent(tmp_path / "m.onnx")
    split_onnx(path, "seam", tmp_path / "split", STATES)
    edge = edge_of(tmp_path / "split", served(tmp_path / "split"), codec)
    images = np.random.default_rng(0).random((6, 4), np.float32)
    for image, wanted in zip(images, recurrence(path, images), strict=True):
        answer, trace = edge.infer(image[None])
        assert set(answer.dtype.names) == {"y", "hn", "cn"}
        for name in ("y", "hn", "cn"):
            np.testing.assert_allclose(answer[name][0], wanted[name], rtol=1e-5 if codec == "raw" else 0.05)
        # The state of the tail goes along with the smashed data.
        assert trace.tensor_bytes > 2 * 3 * 4


def test_another_device_begins_with_no_state(tmp_path, served):
    path = recurrent(tmp_path / "m.onnx")
    split_onnx(path, "seam", tmp_path / "split", STATES)
    transport = served(tmp_path / "split")
    image = np.ones((1, 4), np.float32)
    first, again = (edge_of(tmp_path / "split", transport).infer(image)[0] for _ in range(2))
    np.testing.assert_array_equal(first["y"], again["y"])


def test_several_inputs_and_answers_in_batches(tmp_path, served):
    path = image_and_more(tmp_path / "m.onnx")
    split_onnx(path, "r", tmp_path / "split")
    edge = edge_of(tmp_path / "split", served(tmp_path / "split"))
    batch = random_batch(open_split(tmp_path / "split").manifest.data_inputs, 5)
    wanted = outputs_of(path, parts(batch, ""))["out"]
    for _ in range(2):  # from the template, too
        np.testing.assert_allclose(edge.infer(batch)[0]["out"], wanted, rtol=1e-5)
    with pytest.raises(DataError, match="takes image, gain, meta, and gain, meta was not given"):
        edge.infer(batch["image"])


def test_types_of_answers_arrive(tmp_path, served):
    path = two_answers(tmp_path / "m.onnx")
    split_onnx(path, "r", tmp_path / "split")
    edge = edge_of(tmp_path / "split", served(tmp_path / "split"))
    x = np.random.default_rng(0).random((3, 4), np.float32)
    for _ in range(2):
        answer, _ = edge.infer(x)
        for name, wanted in outputs_of(path, {"image": x}).items():
            assert answer[name].dtype == wanted.dtype
            np.testing.assert_allclose(answer[name], wanted, rtol=1e-5)


def test_answers_of_any_length(tmp_path, served):
    path = detector(tmp_path / "m.onnx")
    split_onnx(path, "r", tmp_path / "split")
    edge, lengths = edge_of(tmp_path / "split", served(tmp_path / "split")), set()
    for seed in range(5):
        x = np.random.default_rng(seed).random((1, 16), np.float32)
        found = edge.infer(x)[0]["found"][0]
        np.testing.assert_array_equal(found, outputs_of(path, {"image": x})["found"])
        lengths.add(len(found))
    assert len(edge.infer(np.zeros((1, 16), np.float32))[0]["found"][0]) == 0
    assert len(lengths) > 1
    with pytest.raises(WireError, match="Send one sample in each request"):
        edge.infer(np.ones((2, 16), np.float32))


def test_the_tap_keeps_all_that_arrived_and_attacks_read_the_smashed_data(tmp_path, served):
    path = image_and_more(tmp_path / "m.onnx")
    split_onnx(path, "r", tmp_path / "split")
    split = open_split(tmp_path / "split")
    batch = random_batch(split.manifest.data_inputs, 2)
    with closing(Tap(tmp_path / "tap")) as tap:
        edge_of(tmp_path / "split", served(tmp_path / "split", tap)).infer(batch)
        deadline = time.monotonic() + 5
        while '"name": "meta"' not in (tmp_path / "tap/tap.jsonl").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    ((header, smashed),) = tap_files.read(tmp_path / "tap")
    assert header["name"] == "smashed"
    np.testing.assert_array_equal(smashed, split.head()(batch))


def test_a_server_of_other_tensors_is_refused(tmp_path, served):
    split_onnx(two_answers(tmp_path / "a.onnx"), "r", tmp_path / "a")
    split_onnx(image_and_more(tmp_path / "b.onnx"), "r", tmp_path / "b")
    with pytest.raises(SplitError, match="different splits"):
        edge_of(tmp_path / "a", served(tmp_path / "b"))


def test_the_edge_sends_random_inputs_of_every_name(tmp_path):
    split_onnx(image_and_more(tmp_path / "m.onnx"), "r", tmp_path / "split")
    with CloudProcess(tmp_path / "split", "zmq://127.0.0.1:0") as cloud:
        record = tmp_path / "requests.npz"
        summary = send(tmp_path / "split", cloud.address, data="random", count=4, warmup=1, record=record)
        assert summary.n == 4
        assert np.load(record)["answer:out"].shape == (4, 3)
        with pytest.raises(SplitError, match="made of image, gain, meta, and digits has images"):
            send(tmp_path / "split", cloud.address, data="digits", count=4)
        assert cloud.stop() == 0


def test_state_and_a_queue_exclude_each_other(tmp_path):
    split_onnx(recurrent(tmp_path / "m.onnx"), "seam", tmp_path / "split", STATES)
    done = cutlayer("edge", tmp_path / "split", "--data", "random", "--on-offline", "local")
    assert done.returncode == 2
    assert "The model keeps state from one request to the next, so none can be answered later" in done.stderr


def test_a_head_of_several_inputs_is_quantized(tmp_path):
    split_onnx(image_and_more(tmp_path / "m.onnx"), "r", tmp_path / "split")
    split = open_split(tmp_path / "split")
    batch = random_batch(split.manifest.data_inputs, 20)
    split.with_head(tmp_path / "int8", lambda out: quantize_head(split.file("head.onnx"), split.manifest, batch, out))
    near, exact = open_split(tmp_path / "int8").model()(batch)["out"], split.model()(batch)["out"]
    assert 0 < np.linalg.norm(near - exact) < 0.1 * np.linalg.norm(exact)


def test_random_inputs_of_every_name_quantize_a_head(tmp_path):
    split_onnx(image_and_more(tmp_path / "m.onnx"), "r", tmp_path / "split")
    words = ("quantize", tmp_path / "split", "--data", "random", "--out", tmp_path / "int8")
    done = cutlayer(*words, "--calibrate", 8, "--count", 4)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the same answer to" in done.stdout


def test_the_commands_tell_what_goes_where(tmp_path):
    path = recurrent(tmp_path / "m.onnx")
    listed = cutlayer("cuts", path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "hn may be what h takes in the next request; --state h=hn keeps it on the device" in listed.stdout
    words = ("split", path, "--cut", "seam", "--state", "h=hn", "--state", "c=cn", "--out", tmp_path / "split")
    done = cutlayer(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        "head: takes image, h, gives smashed, hn",
        "tail: takes smashed, c, gives y, cn",
        "state: h is hn of the request before, kept on the device",
        "state: c is cn of the request before, which comes with the answer and is sent back",
    ]


def test_given_options_may_be_repeated_or_joined():
    from cutlayer.onnx.given import given

    assert given(["3x8x8", "a=1x2,b=3"], ["h=hn,c=cn"], ["sr=16000"], ["mask"]) == Given(
        (3, 8, 8), {"a": (1, 2), "b": (3,)}, {"h": "hn", "c": "cn"}, {"sr": 16000.0}, ("mask",), [0.0], [1.0]
    )
