"""What was written before the folders were laid out anew must still be read: split folders, frames, taps, queues, ids.

The files of `tests/golden` were written by the code of commit 72a4cc4 and are never written again. The records of a run
and of a profile have tests of their own in `tests/records`.
"""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cutlayer.cloud import tap
from cutlayer.defenses.base import Chain, deployed
from cutlayer.edge.offline.queue import Queue
from cutlayer.experiment import plan
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named, decode
from cutlayer.wire.message import Inference, Kind, Message, infer_request, read_infer_request

GOLDEN = Path(__file__).parent / "golden"
FRAMES = json.loads((GOLDEN / "frames.json").read_text())
IDS = json.loads((GOLDEN / "experiment_ids.json").read_text())


@pytest.mark.parametrize("name", IDS)
def test_an_experiment_keeps_its_id(name):
    planned = plan.load(Path(__file__).parents[1] / "experiments" / name)
    assert [experiment.id for experiment in planned] == IDS[name]


def test_a_split_folder_of_onnx_files():
    split = open_split(GOLDEN / "split-tiny")
    assert split.manifest.version == json.loads((GOLDEN / "split-tiny/split.json").read_text())["version"]
    assert split.model()(np.ones((2, 1, 6, 6), np.float32)).shape == (2, 3)
    defense = deployed(split)
    assert isinstance(defense, Chain)
    assert repr(defense.first) == "GaussianNoise(sigma=0.5, noise_aware_epochs=0, bound='none')"


def test_a_split_folder_with_halves_in_torch_and_a_defense_that_learned():
    split = open_split(GOLDEN / "split-torch")
    with np.load(GOLDEN / "split-torch-expected.npz") as expected:
        images, smashed, protected = (expected[name] for name in ("images", "smashed", "protected"))
    np.testing.assert_allclose(split.head()(images), smashed, atol=1e-5)
    np.testing.assert_allclose(split.head("torch")(images), smashed, atol=1e-5)
    released = deployed(split).protect(smashed, np.random.default_rng(0))
    np.testing.assert_allclose(released, protected, atol=1e-6)
    logits = split.tail("torch")(smashed)
    np.testing.assert_allclose(split.tail()(smashed), logits, atol=1e-5)
    halves = split.halves()
    assert torch.equal(halves.tail(torch.from_numpy(smashed)), torch.from_numpy(logits))


@pytest.mark.parametrize("codec", FRAMES["requests"])
def test_a_request_is_read_and_written_as_before(codec):
    frame = FRAMES["requests"][codec]
    header = base64.b64decode(frame["header"])
    tensors = tuple(map(base64.b64decode, frame["tensors"]))
    array = np.array(FRAMES["array"], np.float32).reshape(FRAMES["shape"])
    request = read_infer_request(Message(Kind.INFER, header, tensors))
    assert (request.model, request.version, request.id) == ("tiny@relu", "0123456789abcdef", "id-1")
    assert dict(request.parameters)["one"] == 1
    encoded = codec_named(codec).encode(array)
    np.testing.assert_array_equal(decode(request.tensors["smashed"]), decode(encoded))
    written = infer_request(Inference("tiny@relu", "0123456789abcdef", "id-1", {"smashed": encoded}, {"one": 1}))
    assert read_infer_request(written).tensors["smashed"].parameters == request.tensors["smashed"].parameters
    if "zstd" not in codec:  # Another version of the package may pack otherwise.
        assert [bytes(tensor) for tensor in written.tensors] == list(tensors)


def test_a_tap_is_read():
    arrived = np.concatenate([smashed for _, smashed in tap.read(GOLDEN / "tap")])
    np.testing.assert_array_equal(arrived, np.load(GOLDEN / "tap-expected.npy"))


def test_a_queue_is_read_and_sent_in_order(tmp_path):
    shutil.copytree(GOLDEN / "queue", tmp_path / "queue")
    queue = Queue(tmp_path / "queue", 1 << 20)
    ids = []
    while len(queue):
        place, request = queue.first()
        ids.append(read_infer_request(request).id)
        queue.done(place)
    queue.close()
    assert ids == ["id-raw", "id-int8"]
