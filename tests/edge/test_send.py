import threading
import time

import numpy as np
import pytest

from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import Tap, read
from cutlayer.data.splits import Dataset, Splits
from cutlayer.edge.frames import Planned
from cutlayer.edge.send import send
from cutlayer.errors import ConfigError, DataError, DeadlineExceeded, SplitError, Unreachable
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


def test_bytes_that_the_kernel_counts_are_unknown_where_a_connection_was_lost(folder, monkeypatch):
    counts = iter([10_000, 10_100])
    monkeypatch.setattr("cutlayer.edge.send.sent_bytes", lambda port: next(counts))
    assert run(folder).kernel_bytes == -1
    counts = iter([10_000, 10_000 + (COUNT + PRIVATE * RELEASES) * 2000])
    assert run(folder).kernel_bytes == 2000


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
    with pytest.raises(ConfigError, match="has images of 1x5x5, and the head takes images of 1x6x6"):
        run(folder, data=Splits("small", ("a",), part, part, part, part))


def test_a_damaged_head_is_refused(folder):
    (folder / "head.onnx").write_bytes((folder / "tail.onnx").read_bytes())
    with pytest.raises(SplitError, match=r"head\.onnx"):
        send(folder, "inprocess://nobody", data=SPLITS, count=1)


def test_a_request_at_a_rate_is_due_at_its_time_and_its_response_includes_the_wait(folder):
    """The third request holds up those behind it: their service is quick, and their response is not."""
    tail, batches = open_split(folder).tail(threads=1), []

    def slow_once(smashed):
        batches.append(1)
        if len(batches) == 1 + 2 + 3:
            time.sleep(0.5)
        return tail(smashed)

    summary = run(folder, tail=slow_once, private=0, rate=100)
    saved = record(folder)
    service, response = saved["end_to_end_ns"] / 1e9, saved["response_ns"] / 1e9
    assert (response > service).all()
    held = np.maximum(0, 0.5 - 0.01 * np.arange(1, COUNT - 2))
    assert service[2] > 0.5
    assert (response[3:] - service[3:] >= held - 0.02).all(), "the wait behind a slow request is left out"
    assert summary.behind_ns >= 0.46e9
    rows = str(summary).splitlines()
    assert any(row.startswith("response") for row in rows)
    assert any(row.startswith("due 100 per second; the latest request began") for row in rows)


def test_requests_are_not_early(folder, monkeypatch):
    began = []
    monkeypatch.setattr(
        Planned, "take", lambda self, number, take=Planned.take: (began.append(1), take(self, number))[1]
    )
    start = time.monotonic()
    run(folder, private=0, rate=50)
    assert len(began) == COUNT
    assert time.monotonic() - start >= (COUNT - 1) / 50


@pytest.mark.parametrize("count", [0, 3])
def test_a_loop_goes_on_until_it_is_stopped_and_then_ends_with_the_summary(folder, monkeypatch, count):
    monkeypatch.setattr("cutlayer.edge.requests.MOST_ROWS", 20)
    take, stop_at = Planned.take, 100

    def stopped(self, number):
        if number == stop_at:
            raise KeyboardInterrupt
        return take(self, number)

    monkeypatch.setattr(Planned, "take", stopped)
    if not count:
        with pytest.raises(ConfigError, match="at least one input"):
            run(folder, count=0, private=0, loop=True)
        return
    summary = run(folder, count=count, private=0, loop=True)
    assert summary.n == summary.n_labelled == stop_at
    assert "(n = 20 drawn evenly from 100)" in str(summary)
    saved = record(folder)
    assert saved["logits"].shape == (20, 0)
    assert saved["request_index"].tolist() == sorted(saved["request_index"])
    numbers = saved["request_index"] - 1 - 2
    assert (saved["image"] == numbers % count).all()
    assert (saved["release"] == numbers // count).all()
    assert numbers.max() >= 20, "only the first requests were kept"
    with pytest.raises(ConfigError, match="exclude each other"):
        run(folder, loop=True)


def test_an_error_and_ctrl_c_say_what_was_measured_until_then(folder, monkeypatch):
    take = Planned.take
    for error in (DataError("gone"), KeyboardInterrupt()):

        def ended(self, number, error=error):
            if number == 4:
                raise error
            return take(self, number)

        monkeypatch.setattr(Planned, "take", ended)
        with pytest.raises(type(error)) as raised:
            run(folder, private=0)
        (note,) = raised.value.__notes__
        assert "(n = 4)" in note
        assert "of 4)" in note


def test_random_pixels_need_no_data_set(folder):
    summary = run(folder, data="random", count=20, private=0)
    assert (summary.n, summary.n_labelled) == (20, 0)
    assert "accuracy" not in str(summary)
    assert record(folder)["labels"].tolist() == [-1] * 20


def test_a_file_of_ones_own_is_sent(folder, tmp_path):
    own = images(40, 7)
    np.savez(tmp_path / "own.npz", x=own, y=np.arange(40) % CLASSES)
    tap = Tap(tmp_path / "tap")
    summary = run(folder, tap=tap, data=str(tmp_path / "own.npz"), count=None, private=0)
    tap.close()
    assert 0 < summary.n == summary.n_labelled < 40
    expected = open_split(folder).head()(own)
    arrived = np.concatenate([smashed for _, smashed in read(tmp_path / "tap")])
    assert all(np.isclose(one, expected, atol=1e-5).all(axis=(1, 2, 3)).any() for one in arrived)


def test_a_camera_takes_the_place_of_a_data_set(folder):
    with pytest.raises(ConfigError, match="takes the place of a data set"):
        run(folder, camera="0")


def test_all_test_images_are_sent_if_there_are_fewer_than_the_default(folder):
    assert run(folder, count=None, private=0).n == COUNT


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(folder, rate):
    with pytest.raises(ConfigError, match="--rate must be"):
        run(folder, rate=rate)
