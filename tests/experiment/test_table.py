"""A run on rows of a table: trained, cut, exported, served, read column by column, recorded; with real processes."""

import tomllib

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.data.modality import IMAGE, TABLE, kind_of_inputs, tokens
from cutlayer.defenses.base import deployed
from cutlayer.errors import ConfigError
from cutlayer.experiment import plan
from cutlayer.experiment.affordable import Subject, ladder
from cutlayer.experiment.run import run_all
from cutlayer.profile.quality import ATTACKS as CHEAP
from cutlayer.records.reading import read
from cutlayer.registry import ATTACKS, QUICK_ATTACKS
from cutlayer.report.runs.page import page
from cutlayer.report.runs.terminal import text
from cutlayer.split_folder import open_split
from cutlayer.tables import Named

PLAN = """
data = "diabetes"
model = "mlp"
cut = "relu1"
training = {epochs = 3}
deployment = [{transport = "zmq", head = "onnx"}]
attack = [{name = "marginal"}, {name = "ridge"}, {name = "table-search", attack = "ridge", iterations = 20}]
defense = [{name = "none"}, {name = "gaussian-noise", sigma = 0.5}]
[measure]
count = 12
private = 20
warmup = 2
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run_all(plan.parse(tomllib.loads(PLAN)), folder, resume=True, data_root=None, say=lambda _: None)
    return sorted(read(folder)[0], key=lambda run: run.result.defense["name"] != "none")


def test_what_was_read_is_scored_column_by_column(runs):
    result, columns = runs[0].result, load("diabetes").columns
    assert result.modality == "table"
    attacks = {row.label: row for row in result.privacy if row.deployment == "zmq-onnx"}
    floor, ridge = attacks["marginal"], attacks["ridge"]
    assert floor.leakage_gain.value == 0
    assert ridge.leakage_gain.value > 0.9
    for row in attacks.values():
        assert [record.name for record in row.columns] == [column.name for column in columns]
        mean = np.mean([record.right.value for record in row.columns])
        assert mean == pytest.approx(row.metrics["columns-right"].value)
        guessed = np.mean([record.guessed for record in row.columns])
        assert row.leakage_gain.value == pytest.approx(1 - (1 - mean) / (1 - guessed))
    assert [record.right.value for record in floor.columns] == [record.guessed for record in floor.columns]
    assert floor.metrics["rows-exact"].value == 0


def test_no_attack_exceeds_the_ceiling_of_noise(runs):
    result = runs[1].result
    (at,) = [at for at in result.ceiling.at if at.n_releases == 1]
    assert 0.3 < at.leakage_gain.value <= 1
    assert all(row.leakage_gain.value <= at.leakage_gain.high for row in result.privacy)


def test_the_terminal_and_the_page_say_how_often_each_column_is_read(runs):
    said = text([run.result for run in runs])
    lines = [line.split() for line in said.partition("COLUMNS READ  GUESSED")[2].splitlines()[2:12]]
    assert [line[0] for line in lines] == [column.name for column in load("diabetes").columns]
    record = next(row for row in runs[0].result.privacy if row.label == "ridge").columns[0]
    assert lines[0][1:5] == [f"{record.guessed:.1%}"[:-1], "%", f"{record.right.value:.1%}"[:-1], "%"]
    shown = page(runs, ())
    assert "Which columns were read?" in shown
    assert "Guessed" in shown


def test_an_attack_that_begins_with_one_of_pictures_is_refused(tmp_path):
    experiments = plan.parse(tomllib.loads(PLAN.replace('attack = "ridge"', 'attack = "decoder"')))
    with pytest.raises(ConfigError, match="begins with Decoder, which does not rebuild rows") as refused:
        run_all(experiments, tmp_path, resume=True, data_root=None, say=lambda _: None)
    offered = str(refused.value).partition("choose from ")[2].rstrip(".").split(", ")
    assert {"ridge", "table-search"} <= set(offered)
    assert not {"decoder", "ensemble", "map"} & set(offered)


@pytest.mark.parametrize("kind", ["image", "table", "tokens"])
def test_what_runs_by_itself_can_rebuild_the_kind_of_inputs(kind):
    for name in (*QUICK_ATTACKS[kind], *CHEAP[kind]):
        assert kind in ATTACKS.load(name).rebuilds
    first = ATTACKS.load(QUICK_ATTACKS[kind][0])
    assert first.is_floor


def test_an_audit_of_a_table_tries_what_takes_rows_alone(runs):
    split = open_split(runs[0].folder / "split")
    subject = Subject(split, deployed(split), "raw", 1, foreign=False, kind="table")
    tried = [entry for entry in ladder(subject, [Named("watch-list", {})]) if isinstance(entry, Named)]
    assert {"marginal", "ridge", "table-decoder", "table-search"} <= {entry.name for entry in tried}
    # One begins with a decoder of images, and the other is the floor of images.
    assert not {"ensemble", "mean-image"} & {entry.name for entry in tried}
    for entry in tried:
        assert all("table" in part.rebuilds for part in ATTACKS.make(entry.name, **entry.options).parts)


def test_the_kind_of_inputs_is_known_by_their_shape_and_type():
    specs = (IMAGE.spec(1, 8, 8), TABLE.spec(9), tokens(20).spec(7))
    assert [kind_of_inputs(spec) for spec in specs] == ["image", "table", "tokens"]
