import threading

import numpy as np
import pytest

from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import Tap, read
from cutlayer.data.splits import Dataset, Splits
from cutlayer.edge.send import send
from cutlayer.errors import ConfigError, DeadlineExceeded, SplitError, Unreachable
from cutlayer.split_folder import open_split
from cutlayer.trace import STAGES
from cutlayer.wire.connect import listen
from cutlayer.wire.transport import Timeouts
from tests.tiny_split import ADDRESSES, CLASSES, SMASHED, images, write_split

COUNT, PRIVATE, RELEASES = 6, 3, 2


def dataset(n, seed):
    return Dataset(images(n, seed), np.arange(n) % CLASSES)


SPLITS = Splits("toy", ("a", "b", "c"), dataset(4, 1), dataset(4, 2), dataset(PRIVATE, 3), dataset(COUNT, 4))


def run(folder, transport="zmq", tap=None, tail=None, data=SPLITS, **options):
    options = {
        "count": COUNT,
        "private": PRIVATE,
        "releases": RELEASES,
        "warmup": 2,
        "record": folder / "out.npz",
        **options,
    }
    manifest = write_split(folder, defense=options.pop("defense", None))
    service = Service(manifest, tail or open_split(folder).tail(threads=1), tap)
    server = listen(ADDRESSES[transport], service)
    try:
        return send(folder, str(server.address), data=data, **options)
    finally:
        server.close()


def record(folder):
    with np.load(folder / "out.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("transport", ADDRESSES)
def test_the_record_says_which_image_each_request_carried(folder, tmp_path, transport):
    tap = Tap(tmp_path / "tap")
    summary = run(folder, transport, tap)
    tap.close()
    saved = record(folder)
    assert saved["part"].tolist() == [0] * COUNT + [1] * PRIVATE * RELEASES
    assert saved["image"].tolist() == [*range(COUNT), *range(PRIVATE), *range(PRIVATE)]
    assert saved["release"].tolist() == [0] * (COUNT + PRIVATE) + [1] * PRIVATE
    assert saved["labels"].tolist() == [i % CLASSES for i in saved["image"]]
    assert saved["logits"].shape == (len(saved["part"]), CLASSES)

    tapped = {header["id"]: smashed for header, smashed in read(tmp_path / "tap")}
    assert len(tapped) == 1 + 2 + len(saved["part"])
    first, again = (tapped[str(saved["id"][COUNT + i])] for i in (0, PRIVATE))
    np.testing.assert_array_equal(first, again)

    answers = saved["logits"][:COUNT].argmax(axis=1)
    assert summary.n_correct == (answers == saved["labels"][:COUNT]).sum()
    assert summary.n == COUNT


def test_times_are_kept_one_by_one_and_apart_from_the_first(folder):
    summary = run(folder)
    saved = record(folder)
    assert sum(saved[f"{stage}_ns"] for stage in STAGES).tolist() == saved["end_to_end_ns"].tolist()
    assert saved["warmup_end_to_end"].shape == (2,)
    assert saved["first_request_ns"] == summary.first_request_ns > 0
    assert saved["peak_rss_bytes"] > 1e6
    assert saved["kernel_bytes"] == -1 or saved["kernel_bytes"] > saved["message_bytes"].max()


def test_the_summary_has_a_dash_where_samples_are_too_few(folder):
    text = str(run(folder))
    assert f"n = {COUNT}" in text
    assert text.splitlines()[1].split()[-1] == "-"


def test_each_release_of_a_random_defense_differs(folder, tmp_path):
    tap = Tap(tmp_path / "tap")
    run(folder, tap=tap, defense={"name": "gaussian-noise", "sigma": 0.5})
    tap.close()
    tapped = {header["id"]: smashed for header, smashed in read(tmp_path / "tap")}
    first, again = (tapped[str(record(folder)["id"][COUNT + i])] for i in (0, PRIVATE))
    assert not np.array_equal(first, again)


@pytest.mark.parametrize("transport", ADDRESSES)
@pytest.mark.parametrize(("codec", "travels"), [("int8:channel+zstd", "int8+zstd"), ("top-k:0.5", "top-k")])
def test_tensors_travel_in_the_codec_that_the_user_names(folder, tmp_path, transport, codec, travels):
    tap = Tap(tmp_path / "tap")
    summary = run(folder, transport, tap, codec=codec)
    tap.close()
    arrived = list(read(tmp_path / "tap"))
    assert {header["parameters"]["codec"] for header, _ in arrived} == {travels}
    assert {smashed.shape for _, smashed in arrived} == {(1, *SMASHED.shape)}
    assert summary.timed["tensor_bytes"].max() < SMASHED.nbytes


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_measurements_from_before_the_server_went_away_are_saved(folder, transport):
    batches = []
    tail = open_split(folder).tail(threads=1)

    def hangs_at_the_sixth(smashed):
        batches.append(1)
        if len(batches) == 6:
            waiting.wait(5)
        return tail(smashed)

    waiting = threading.Event()
    with pytest.raises((Unreachable, DeadlineExceeded)):
        run(folder, transport, tail=hangs_at_the_sixth, timeouts=Timeouts(request_s=0.3))
    waiting.set()
    assert record(folder)["image"].tolist() == [0, 1]


def test_nothing_is_recorded_when_nothing_was_answered(folder):
    with pytest.raises(Unreachable):
        send(folder, "inprocess://nobody", data=SPLITS, count=1, record=folder / "out.npz")
    assert not (folder / "out.npz").exists()


def test_wrong_requests_are_refused_before_anything_is_sent(folder):
    with pytest.raises(ConfigError, match="only 6 test images"):
        run(folder, count=7)
    with pytest.raises(ConfigError, match="did you mean int8"):
        run(folder, codec="int9+zstd")
    with pytest.raises(ConfigError, match="names no data set"):
        run(folder, data=None)
    part = Dataset(np.zeros((1, 1, 5, 5), np.float32), np.zeros(1, np.int64))
    with pytest.raises(SplitError, match="1x5x5"):
        run(folder, data=Splits("small", ("a",), part, part, part, part))


def test_a_damaged_head_is_refused(folder):
    (folder / "head.onnx").write_bytes((folder / "tail.onnx").read_bytes())
    with pytest.raises(SplitError, match=r"head\.onnx"):
        send(folder, "inprocess://nobody", data=SPLITS, count=1)
