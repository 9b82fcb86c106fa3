"""A full disk at every step that writes: one sentence that names the file, nothing half-written, and a next start.

The disk is full in the form that needs no mount: a file may have a few bytes only. What the system then says is "file
too large", and takes the way that "no space left on device" takes.
"""

import re
import resource
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cutlayer.bounded import read_arrays
from cutlayer.cloud import tap
from cutlayer.edge.offline.queue import Queue
from cutlayer.edge.requests import Recorder
from cutlayer.errors import CutlayerError, WriteError
from cutlayer.records import found, profile_files, reading, run, writing
from cutlayer.records.files import write_array
from cutlayer.report.profiles import page as profile_page
from cutlayer.report.runs import page as run_page
from cutlayer.split_folder import open_split
from cutlayer.wire import certs
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.message import Inference, infer_request
from tests.tiny_split import SMASHED, images, write_split

GOLDEN = Path(__file__).parents[1] / "golden"
RUN = "295a94a24ab0"


@contextmanager
def full_after(n_bytes):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def request(number=0):
    tensors = {"smashed": Raw().encode(np.full((1, *SMASHED.shape), number, np.float32))}
    return infer_request(Inference("m", "v", f"s-{number}", tensors, {"session": "s"}))


def silent(_):
    """What pytest catches goes to a file, too."""


def prepare(folder):
    """What there is before: a finished run, and a split folder."""
    (folder / "runs").mkdir()
    shutil.copytree(GOLDEN / "run", folder / "runs" / RUN, ignore=shutil.ignore_patterns("index.sqlite"))
    write_split(folder / "split")


def record(folder):
    Recorder().save(folder / "new" / "record.npz")
    read_arrays(folder / "new" / "record.npz")


def result(folder):
    (finished,), _ = reading.read(folder / "runs")
    writing.finish(folder / "new", finished.result, {}, {}, {}, finished.pictures, {})
    reading.read(folder / "new")


def rows(folder):
    found.make_index(folder / "runs")


def profile(folder):
    profile_files.save(folder / "new", profile_files.read(GOLDEN / "profile"))
    profile_files.read(folder / "new")


def page_of_a_profile(folder):
    profile_page.save(folder / "new", profile_files.read(GOLDEN / "profile"))
    assert (folder / "new" / "profile.html").read_text().rstrip().endswith("</html>")


def report(folder):
    assert run_page.write(folder / "runs").read_text().rstrip().endswith("</html>")


def split(folder):
    whole = open_split(folder / "split")
    whole.with_head(folder / "new" / "split", lambda path: path.write_bytes(whole.file("head.onnx").read_bytes()))
    open_split(folder / "new" / "split").head()


def keys(folder):
    pytest.importorskip("cryptography")
    assert all(path.stat().st_size for path in certs.init(folder / "new"))


def tapped(folder):
    opened = tap.Tap(folder / "new", durable=True)
    try:
        opened.record_now(request())
    finally:
        opened.close()
    assert len(list(tap.read(folder / "new"))) == 1


def queued(folder):
    queue = Queue(folder / "new", 1 << 20)
    try:
        queue.put(request())
        assert len(queue) == 1
    finally:
        queue.close()


def array(folder):
    write_array(folder / "new" / "images.npy", images(2))


def trained_model(folder):
    victim = pytest.importorskip("cutlayer.experiment.victim")
    from cutlayer.data.splits import Dataset, Splits
    from cutlayer.experiment.spec import Experiment, Training

    part = Dataset(np.zeros((2, 1, 28, 28), np.float32), np.arange(2))
    data = Splits("toy", ("a", "b"), part, part, part, part)
    experiment = Experiment("random", "he_lenet", "conv1", training=Training(epochs=0))
    for _ in range(2):
        victim.trained(experiment, data, folder / "new", silent)


STEPS = {
    record: "record.npz", result: r"\w+\.(npz|json)", rows: "index.sqlite", profile: "profile.json",
    page_of_a_profile: "profile.html", report: "report.html", split: "head.onnx", keys: r"\w+\.(key|pem|pub)",
    tapped: "new", queued: "new", array: "images.npy", trained_model: r"\w+\.safetensors",
}  # fmt: skip


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("n_bytes", [0, 20])
def test_a_full_disk_costs_what_is_being_written_and_nothing_else(tmp_path, monkeypatch, step, n_bytes):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    prepare(tmp_path)
    before = content(tmp_path)
    why = "(file too large|disk I/O error|database or disk is full)[;.] free some space"
    sentence = re.compile(rf"{re.escape(str(tmp_path))}/(\S*/)?{STEPS[step]} cannot be written: {why}", re.IGNORECASE)
    with full_after(n_bytes), pytest.raises(CutlayerError, match=sentence):
        step(tmp_path)
    after = content(tmp_path)
    assert before.items() <= after.items()
    assert not [path for path in after if path.name.endswith(".part")]
    step(tmp_path)


def test_the_result_that_says_that_a_run_is_finished_comes_last(tmp_path):
    prepare(tmp_path)
    for n_bytes in range(0, 60_000, 3_000):
        with full_after(n_bytes):
            try:
                result(tmp_path)
            except WriteError:
                assert not (tmp_path / "new" / RUN / run.RESULT).exists()
            else:
                return
    pytest.fail("never written")
