"""Records of finished runs: the schema, and files written by the first version of cutlayer."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cutlayer.bounded import read_json
from cutlayer.percentiles import PERCENTILES
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import write_arrays
from cutlayer.records.reading import read, read_result
from cutlayer.records.reconstructions import Reconstructions, from_arrays
from cutlayer.records.run import (
    PIXELS,
    WATCH_LIST,
    AttackRecord,
    Estimate,
    IdentificationRecord,
    Published,
    load_result,
)
from cutlayer.trace import STAGES
from tests.report import conftest

GOLDEN = Path(__file__).parents[1] / "golden" / "run"


@pytest.fixture
def runs(tmp_path):
    """The golden run and its index, as `cutlayer run` left them."""
    shutil.copytree(GOLDEN, tmp_path / "295a94a24ab0", ignore=shutil.ignore_patterns("index.sqlite"))
    shutil.copy(GOLDEN / "index.sqlite", tmp_path)
    return tmp_path


def test_an_old_result_is_written_back_as_it_was_with_its_keys_in_order():
    content = read_json(GOLDEN / "result.json")
    assert json.dumps(dump(load_result(content))) == json.dumps(content)


def test_the_files_of_an_old_run_are_read(runs):
    (run,), skipped = read(runs)
    assert (skipped, run.notes) == ([], ())
    assert run.result.worst_case.label == "averaging n_releases=2"
    assert run.result.worst_case.metrics.keys() == {"mse", "psnr", "ssim", "identification"}
    assert all(tuple(cost.end_to_end) == PERCENTILES and tuple(cost.stages) == STAGES for cost in run.result.cost)
    assert run.pictures.by("averaging n_releases=2", "grpc-torch").shape == run.pictures.originals.shape
    assert len(run.pictures.telling) == len(run.pictures.originals)
    assert len(run.traces["grpc-onnx/end_to_end_ns"]) == 20


def test_no_title_of_an_attack_takes_the_place_of_another_array(tmp_path):
    images = np.random.default_rng(0).random((3, 1, 4, 4)).astype(np.float16)
    titles = ("originals", "labels", "telling", "a/b", "../c", "file")
    rebuilt = {(where, title): images + i for i, title in enumerate(titles) for where in ("zmq-onnx", "grpc-torch")}
    kept = Reconstructions(images, np.arange(3), np.array([2, 0]), rebuilt)
    write_arrays(tmp_path / "reconstructions.npz", kept.arrays())
    with np.load(tmp_path / "reconstructions.npz", allow_pickle=False) as arrays:
        again = from_arrays(dict(arrays), "zmq-onnx")
    assert again.rebuilt.keys() == rebuilt.keys()
    np.testing.assert_array_equal(again.originals, images)
    np.testing.assert_array_equal(again.labels, [0, 1, 2])
    np.testing.assert_array_equal(again.telling, [2, 0])
    for place, expected in rebuilt.items():
        np.testing.assert_array_equal(again.rebuilt[place], expected)
    assert again.by("a/b", "unknown") is not None
    assert again.by("unknown", "zmq-onnx") is None


def test_published_values_stand_beside_their_source():
    row = conftest.attack("ridge", "ridge", "BLACK_BOX", 0.5, "zmq-onnx")
    row["published"] = {"psnr": 20.81, "source": "He et al. 2019, Table 4"}
    record = load(AttackRecord, row)
    assert record.published == Published(values={"psnr": 20.81}, source="He et al. 2019, Table 4")
    assert dump(record) == row
    assert "published" not in dump(replace(record, published=None))


def test_a_value_that_is_unknown_is_nan():
    estimate = load(Estimate, {"value": None, "n": 1, "low": None, "high": None})
    assert math.isnan(estimate.value)
    assert math.isnan(load(Estimate, json.loads(json.dumps(dump(estimate)))).low)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": "0"},
        {"seed": True},
        {"classes": "cat"},
        {"utility": []},
        {"claim": None},
        {"cost": [{}]},
        {"flags": [1]},
    ],
)
def test_a_value_of_another_type_is_refused(change):
    with pytest.raises((TypeError, KeyError)):
        load_result(conftest.result("aaaaaaaaaaaa", 0.5) | change)


def identified(how, value, label="watch-list", top_10=1.0):
    return IdentificationRecord(
        attack=label, label=label, access="BLACK_BOX", deployment="zmq-onnx", n_releases=1, how=how, candidates=1000,
        top_1=Estimate(value, 200, value - 0.1, 1.0), top_10=Estimate(top_10, 200, 0.9, 1.0), ranks=(1, 10, 1000),
        curve=(value, top_10, 1.0),
    )  # fmt: skip


def test_an_old_result_shows_the_pixels_of_the_attack_that_leaks_most(runs):
    old = read_result(runs / "295a94a24ab0")
    assert not old.has_watch_list
    found, worst = old.identified, old.worst_case
    assert (found.label, found.how, found.candidates) == (worst.label, PIXELS, old.candidates)
    assert found.top_1 == worst.metrics["identification"]
    assert replace(old, worst_case=None).identified is None


def test_the_most_that_any_attack_identifies_is_what_a_run_says(runs):
    ways = (identified(PIXELS, 0.9, "ridge"), identified(WATCH_LIST, 0.97), identified(WATCH_LIST, 0.97, "later"))
    result = replace(read_result(runs / "295a94a24ab0"), identification=ways)
    assert load_result(json.loads(json.dumps(dump(result)))) == result
    assert result.identified == ways[1]
    assert result.has_watch_list
    assert replace(result, identification=ways[:1]).identified == ways[0]
