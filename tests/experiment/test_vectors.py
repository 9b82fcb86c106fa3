"""A run of a sentence encoder, whose answers are vectors: privacy, the use of the answers and time in one record."""

import csv
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.defenses.base import deployed
from cutlayer.errors import ConfigError
from cutlayer.experiment import plan
from cutlayer.experiment.audit import _useful
from cutlayer.experiment.export import to_csv
from cutlayer.experiment.flags import unfit
from cutlayer.experiment.run import run_all
from cutlayer.experiment.usefulness import check_useful
from cutlayer.experiment.victim import load_data
from cutlayer.records.index import INDEX
from cutlayer.records.reading import read
from cutlayer.records.run import Estimate, Utility, Vectors
from cutlayer.report.runs.page import write
from cutlayer.report.runs.terminal import text
from cutlayer.split_folder import open_split
from tests.models.language_folders import WIDTH, WORDS, bert_folder

NOISE = "gaussian-noise sigma=2.0"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small encoder, and sentences without labels."""
    place = tmp_path_factory.mktemp("vectors")
    bert_folder(place / "bert")
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(160)]
    (place / "mine.txt").write_text("\n".join(lines))
    return place


def table(place, **changes):
    return {
        "data": str(place / "mine.txt"), "model": f"hf/{place / 'bert'}", "cut": "layer1", "training": {"epochs": 0},
        "measure": {"count": 12, "private": 10, "warmup": 1}, "deployment": [{"transport": "zmq", "head": "onnx"}],
        "defense": [{"name": "none"}, {"name": "gaussian-noise", "sigma": 2.0}],
        "attack": [{"name": "token-frequency"}, {"name": "token-ridge"}],
        "expect": [f"cosine of {NOISE} < cosine of none", "same-nearest of none > 0.5", f"cosine of {NOISE} > 0.99"],
    } | changes  # fmt: skip


@pytest.fixture(scope="module")
def runs(place):
    run_all(plan.parse(table(place)), place / "runs", resume=True, data_root=None, say=lambda _: None)
    return place / "runs"


@pytest.fixture(scope="module")
def found(runs):
    return {run.result.defense_label: run for run in read(runs)[0]}


def test_the_cosine_is_that_of_what_the_server_answered(found):
    bare, noisy = (found[label].result for label in ("none", NOISE))
    assert (bare.utility.name, bare.utility.accuracy, bare.utility.baseline) == ("cosine", None, None)
    assert bare.utility.figure.value == pytest.approx(1, abs=1e-5)
    assert (bare.utility.figure.n, bare.utility.vectors.same_nearest.value) == (12, 1)
    assert noisy.utility.figure.high < bare.utility.figure.low
    assert noisy.utility.change.value == pytest.approx(noisy.utility.figure.value - 1)
    assert bare.worst_case.leakage_gain.value > 0.4
    assert bare.cost[0].end_to_end["p50"] > 0
    with np.load(found[NOISE].folder / "answers.npz") as answers:
        served, whole = answers["served/zmq-onnx"], answers["undefended"]
    assert served.shape == whole.shape == (12, WIDTH)
    cosines = (served * whole).sum(1) / np.linalg.norm(served, axis=1) / np.linalg.norm(whole, axis=1)
    assert noisy.utility.figure.value == pytest.approx(cosines.mean(), abs=1e-5)


def test_the_page_the_terminal_and_the_tables_speak_of_the_cosine(runs, found):
    page = write(runs).read_text()
    assert "Privacy, cosine and time" in page
    assert "Further right is better for the cosine" in page
    assert "answers with a vector of it" in page
    assert "the quality of the answers and time" in page
    printed = text([run.result for run in found.values()])
    assert "COSINE" in printed
    assert "NEAREST, %" in printed
    assert "between the vector that is answered and that of the whole model without a defense" in " ".join(
        printed.split()
    )
    assert f"supported by the table: cosine of {NOISE} < cosine of none" in printed
    assert f"not supported by the table: cosine of {NOISE} > 0.99" in printed
    assert "not checked" not in printed
    for shown in (page, printed):
        assert "ccuracy of" not in shown
        assert "ccuracy on" not in shown
        assert "nan" not in shown.replace("nanosecond", "")


def test_other_tools_get_the_cosine(runs, found, tmp_path):
    to_csv(runs, tmp_path / "all.csv", lambda _: None)
    with (tmp_path / "all.csv").open() as file:
        rows = {(row["defense_label"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(rows[NOISE, "cosine"]["value"]) == found[NOISE].result.utility.figure.value
    assert rows["none", "same-nearest"]["n"] == "12"
    assert ("none", "accuracy") not in rows
    with sqlite3.connect(runs / INDEX) as database:
        values = database.execute("select value from metrics where metric = 'cosine' and attack = ''").fetchall()
        assert len(values) == 2
        assert database.execute("select distinct accuracy from rows").fetchall() == [(None,)]


def test_an_audit_measures_the_cosine_of_a_split(place, found):
    split = open_split(found[NOISE].folder / "split")
    data = load(str(place / "mine.txt"), tokenizer=split.tokenizer, shape=split.manifest.input.shape)
    accuracy, near, why = _useful(split, deployed(split), split.head(), data, "raw", 0)
    assert (accuracy, why) == (None, "")
    assert near.cosine.value == pytest.approx(found[NOISE].result.utility.figure.value, abs=0.15)


def test_a_model_that_tells_no_two_sentences_apart_is_flagged(found):
    (flag,) = (flag for flag in found["none"].result.flags if flag.flag == "victim-near-chance")
    assert "nearly the same vector for any two test sentences (mean cosine 1.000)" in flag.text


def test_noise_behind_which_a_vector_might_be_that_of_another_sentence_is_flagged():
    near = Vectors(cosine=Estimate(0.6, 50, 0.5, 0.7), same_nearest=None, apart=0.48)
    (flag,) = unfit(Utility(vectors=near), np.zeros(0, np.int64), "sentences")
    assert flag.flag == "defended-near-chance"
    assert [*unfit(Utility(vectors=replace(near, apart=0.2)), np.zeros(0, np.int64), "sentences")] == []


def test_a_record_of_neither_has_no_figure():
    assert np.isnan(Utility().figure.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"expect": ["accuracy of none > 0.5"]},
            "asks for the accuracy of hf/bert, which answers with vectors, and no label .* ask for cosine",
        ),
        (
            {"defense": [{"name": "gaussian-noise", "sigma": 1.0, "noise_aware_epochs": 2}], "expect": []},
            "trains the model on labels .epochs: 2., and hf/bert answers with vectors",
        ),
        (
            {"data": "documentation", "model": "text_transformer", "cut": "block1", "training": {"epochs": 1}},
            "asks for cosine, which is a figure of vectors, and text_transformer answers with classes",
        ),
        ({"measure": {"metrics": ["accuracy"]}, "expect": []}, "accuracy"),
    ],
)
def test_what_vectors_do_not_have_is_refused(place, changes, message):
    def check():
        for experiment in plan.parse(table(place, **changes)):
            check_useful(experiment, load_data(experiment, None))

    with pytest.raises(ConfigError, match=message):
        check()
