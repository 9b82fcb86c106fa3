"""The records for other tools, read back by these tools."""

import csv
import json
import math
from dataclasses import replace

import pytest

from cutlayer import cli
from cutlayer.errors import ConfigError, CutlayerError
from cutlayer.experiment import export
from cutlayer.records import class_level, gradients, training
from cutlayer.records.dataclass_json import dump
from cutlayer.records.files import write_json
from cutlayer.records.long_table import Row, rows
from cutlayer.records.run import RESULT, load_result
from tests.report import conftest
from tests.report.class_level.test_page import record as of_a_class
from tests.report.gradients.test_page import record as of_an_update
from tests.report.trainings.made import training as made_training


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, a cell of each kind of study, and a training."""
    folder = tmp_path_factory.mktemp("runs")
    for id, sigma in (("a" * 12, 0.0), ("b" * 12, 0.5)):
        result = replace(load_result(conftest.result(id, sigma)), codec="int8:channel", name='odd "name", \ud800')
        write_json(folder / id / RESULT, dump(result))
        write_json(folder / id / "env.json", conftest.ENV)
    gradients.write(folder / "abc", of_an_update(samples=4), {})
    class_level.write(folder / "abc", of_a_class(), {})
    training.write(folder / "t", made_training())
    return folder


def number(text):
    return None if text == "" else float(text)


def command(*words):
    cli.app().cli(args=["export", *map(str, words)])


def test_there_is_a_row_for_each_figure_with_all_that_it_depends_on(runs):
    result = load_result(conftest.result("b" * 12, 0.5))
    found = [row for row in rows(runs, print) if row.id == result.id]
    attacked = [row for row in found if row.metric == "mse"]
    assert len(attacked) == len(result.privacy)
    for row, attack in zip(attacked, result.privacy, strict=True):
        assert (row.deployment, row.attack, row.attack_label) == (attack.deployment, attack.attack, attack.label)
        assert (row.value, row.low, row.high) == tuple(
            getattr(attack.metrics["mse"], k) for k in ("value", "low", "high")
        )
        assert (row.n, row.data, row.model, row.cut, row.codec) == (
            64,
            "photos",
            "vgg11_bn",
            "features.7",
            "int8:channel",
        )
        assert (row.defense, json.loads(row.defense_options), row.seed) == ("gaussian-noise", {"sigma": 0.5}, 0)
        assert row.commit == conftest.ENV["commit"]
        assert row.transport == attack.deployment.split("-")[0]
    requests = {(r.deployment, r.metric, r.statistic): r.value for r in found if r.kind == "request"}
    for cost in result.cost:
        assert requests[cost.deployment, "end_to_end_ns", "p50"] == cost.end_to_end["p50"]
        assert requests[cost.deployment, "head_ns", "p50"] == cost.stages["head"]["p50"]
    assert {row.metric for row in found} >= {"accuracy", "leakage_gain", "identified, watch list", "identified, pixels"}
    (update,) = [row for row in rows(runs, print) if (row.kind, row.metric) == ("update", "psnr")]
    assert (update.samples, update.study, update.value) == (4, "abc", 20.0)
    assert [r.value for r in rows(runs, print) if (r.kind, r.metric) == ("class-level", "agreed")] == [0.6]
    rounds = [row for row in rows(runs, print) if (row.kind, row.metric) == ("training", "accuracy")]
    assert [row.round for row in rounds] == [1, 2, 3, 4, 5, 6]


def test_csv_is_read_back(runs, tmp_path, capsys):
    command(runs, "--csv", tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    expected = list(rows(runs, print))
    assert tuple(read[0]) == export.COLUMNS
    assert [(row["metric"], number(row["value"]), number(row["low"])) for row in read] == [
        (row.metric, row.value, row.low) for row in expected
    ]
    assert read[0]["name"] == 'odd "name", \\ud800'
    assert capsys.readouterr().out == f"{len(expected):,} rows are in {(tmp_path / 'all.csv').resolve()}\n"


def test_a_name_is_no_formula_for_a_spreadsheet_and_turns_no_line_around(tmp_path):
    result = replace(load_result(conftest.result("a" * 12, 0.0)), name="=1+1\u202e")
    write_json(tmp_path / "runs" / result.id / RESULT, dump(result))
    export.to_csv(tmp_path / "runs", tmp_path / "all.csv", print)
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as file:
        assert {row["name"] for row in csv.DictReader(file)} == {"'=1+1\\u202e"}


def test_what_is_damaged_has_no_row_and_is_said(tmp_path):
    for id in ("a" * 12, "b" * 12):
        write_json(tmp_path / id / RESULT, dump(load_result(conftest.result(id, 0.0))))
    whole = (tmp_path / ("b" * 12) / RESULT).read_text()
    (tmp_path / ("b" * 12) / RESULT).write_text(whole[: len(whole) // 2])
    said = []
    assert {row.id for row in rows(tmp_path, said.append)} == {"a" * 12}
    assert [line.split(".")[0] for line in said] == [f"{'b' * 12} is left out"]


def test_parquet_is_read_back(runs, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    monkeypatch.setattr(export, "BATCH", 100)
    command(runs, "--parquet", tmp_path / "all.parquet")
    table, expected = parquet.read_table(tmp_path / "all.parquet"), list(rows(runs, print))
    assert tuple(table.column_names) == export.COLUMNS
    assert [str(table.schema.field(name).type) for name in ("value", "n", "metric")] == ["double", "int64", "string"]
    for name in ("value", "low", "n", "round", "metric", "attack_label"):
        assert table[name].to_pylist() == [getattr(row, name) for row in expected]


def test_tensorboard_reads_the_scalars(runs, tmp_path):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the extra tensorboard"
    )
    command(runs, "--tensorboard", tmp_path)
    read = reading.EventAccumulator(str(tmp_path / ("b" * 12)))
    read.Reload()
    (attack,) = [r for r in rows(runs, print) if r.id == "b" * 12 and r.attack == "ridge" and r.metric == "mse"][:1]
    (event,) = read.Scalars(f"{attack.deployment}/{attack.attack_label}/mse/mean")
    assert math.isclose(event.value, attack.value, rel_tol=1e-6)
    trained = reading.EventAccumulator(str(tmp_path / made_training().id / "tensorboard"))
    trained.Reload()
    assert [event.step for event in trained.Scalars("accuracy/all")] == [1, 2, 3, 4, 5, 6]


def test_mlflow_reads_the_runs_and_a_second_export_replaces_them(runs, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    for _ in range(2):
        command(runs, "--mlflow", uri)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("cutlayer")
    found = {run.data.tags["cutlayer.id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(client.search_runs([experiment.experiment_id])) == len(found) == 5
    run = found["b" * 12]
    assert (run.data.params["model"], run.data.params["codec"]) == ("vgg11_bn", "int8:channel")
    ridge = next(r for r in rows(runs, print) if r.id == "b" * 12 and r.attack == "ridge" and r.metric == "mse")
    assert run.data.metrics[f"{ridge.deployment}/ridge/mse/mean"] == ridge.value
    history = client.get_metric_history(found[made_training().id].info.run_id, "accuracy/mean")
    assert [entry.step for entry in history] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("words", [(), ("--csv", "a.csv", "--parquet", "b.parquet")])
def test_there_is_exactly_one_target(runs, words):
    with pytest.raises(ConfigError, match="exactly one target"):
        command(runs, *words)


def test_what_is_not_there_or_cannot_be_written_is_one_sentence(runs, tmp_path):
    with pytest.raises(CutlayerError, match="There is no folder"):
        command(tmp_path / "nowhere", "--csv", tmp_path / "all.csv")
    assert not (tmp_path / "all.csv").exists()
    with pytest.raises(ConfigError, match="it is a folder"):
        command(runs, "--csv", tmp_path)


def test_every_column_has_a_type_that_tables_know():
    row = Row(kind="run", id="a", seed=0)
    assert all(isinstance(getattr(row, name), str | int | None) for name in export.COLUMNS)
