"""The part of the report that shows trainings, and the lines in the terminal."""

from dataclasses import replace
from pathlib import Path

import pytest

from cutlayer.cloud.training.book import begun
from cutlayer.errors import CutlayerError
from cutlayer.protocols.plan import parse
from cutlayer.protocols.private import guarantee
from cutlayer.protocols.setup import prepare
from cutlayer.protocols.sight import label as labelled
from cutlayer.records import training as records
from cutlayer.records.reading import read, trainings
from cutlayer.report.runs.page import write
from cutlayer.report.trainings import charts, terminal
from cutlayer.report.trainings.groups import group
from tests.report.trainings.made import training


def written(folder: Path, *made: records.TrainingRecord) -> str:
    """The page of a folder with these trainings."""
    for record in made:
        (folder / record.id).mkdir(parents=True, exist_ok=True)
        records.write(folder / record.id, record)
    return write(folder).read_text()


def test_the_page_shows_result_curves_holdings_and_who_sees_what(tmp_path: Path) -> None:
    page = written(tmp_path, training(), training("fedavg"), training("vanilla", rounds=3))
    for words in (
        "Training by clients and a server",
        "Learning curves",
        "Who holds what",
        "Who sees what",
        "1 not fin",
    ):
        assert words in page
    for label in ("splitfed-v1", "fedavg", "vanilla", "Each client alone", "Always the most frequent class"):
        assert f"{label}<" in page or f">{label}" in page
    assert page.count("<polyline") == 6  # three curves, by round and by bytes
    (only,) = group([entry.record for entry in trainings(tmp_path)[0]])
    assert page.count('class="holds"') == sum(n > 0 for held in only.parted.held for n in held)
    assert "client 5, 9" in page
    assert "cutlayer train runs/ID/plan.toml" in page


def test_centralised_joins_the_group_of_its_data_and_seeds_share_a_curve() -> None:
    central = replace(training("centralised", clients=1), partition="iid", held=())
    groups = group([central, training(seed=0), training(seed=1), training("fedavg")])
    (only,) = groups
    assert [curve.label for curve in only.curves] == ["splitfed-v1", "fedavg", "centralised"]
    assert [len(curve.runs) for curve in only.curves] == [2, 1, 1]
    assert only.parted.clients == 5
    means = only.curves[0].over_rounds()
    assert [number for number, _ in means] == [1, 2, 3, 4, 5, 6]


def test_what_dp_sgd_protects_and_what_it_does_not_is_on_the_page_and_in_the_terminal(tmp_path: Path) -> None:
    plan = parse({"data": "digits", "model": "lenet", "cut": "pool1", "protocol": "splitfed-v1", "samples": 240,
                  "test": 100, "clients": 3, "dp": {"clip": 1.0, "noise": 2.0}})  # fmt: skip
    setup = prepare(plan)
    record = replace(training(labelled(plan)), guarantee=begun(plan, setup, setup.classes, "zmq").guarantee)
    assert record.guarantee == guarantee(plan, 80)
    page = written(tmp_path, record, training())
    assert record.guarantee in page
    assert "splitfed-v1, dp clip=1 noise=2</b>" in page
    assert page.count("What DP-SGD protects") == 1
    assert "Not protected by it are the smashed data" in " ".join(terminal.summary(record).split())
    assert "DP-SGD" not in terminal.summary(training())


def test_each_of_eighteen_curves_looks_otherwise() -> None:
    (only,) = group([training(f"splitfed-v1, bn={number:02}") for number in range(18)])
    looks = [curve.color for curve in only.curves]
    assert len(set(looks)) == 18
    style = (Path(charts.__file__).parents[1] / "kit/style.css").read_text()
    for name in {name for look in looks for name in look.split()}:
        assert f".learning .{name}" in style
        assert f".line.{name}" in style


def test_a_training_that_cannot_be_read_is_said_and_the_others_are_shown(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / records.TRAINING).write_text('{"schema": 1}')
    page = written(tmp_path, training())
    assert "broken" in page
    assert "Its training.json is damaged" in page
    found, skipped = trainings(tmp_path)
    assert [entry.record.label for entry in found] == ["splitfed-v1"]
    assert [entry.name for entry in skipped] == ["broken"]


def test_a_folder_without_runs_and_trainings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CutlayerError, match="holds no finished run"):
        read(tmp_path)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = training()
    records.write(tmp_path, record)
    assert records.read(tmp_path) == record
    assert record.last is not None
    assert record.last.worst == pytest.approx(min(record.last.by_client))
    assert record.rounds[0].sent("up") == 1_000_000 + 5_000 + 800


def test_bytes_that_measure_the_accuracy_do_not_count_as_sent() -> None:
    entry = replace(training().rounds[0], traffic={"up smashed": 10, "up evaluation": 1000, "down gradient": 7})
    assert (entry.sent("up"), entry.sent("down")) == (10, 7)


def test_the_terminal_has_a_line_for_each_round_below_its_titles() -> None:
    record = training()
    titles = terminal.heading(record).splitlines()
    lines = [terminal.line(entry) for entry in record.rounds]
    assert lines[5].split()[:2] == ["6", "76.3"]
    assert "1.0 MB" in lines[0]
    assert max(map(len, [*lines, *titles])) <= 120
    assert "each client alone" in terminal.summary(record)
    assert "80.0 % after round 1." in terminal.summary(record)
    assert "always the most frequent class" in terminal.summary(record)


def test_a_training_without_a_measured_round_has_lines_and_a_page(tmp_path: Path) -> None:
    record = training()
    bare = replace(record, rounds=tuple(replace(e, accuracy=None, clients=()) for e in record.rounds), held=())
    assert terminal.summary(bare) == "No accuracy was measured."
    assert terminal.line(bare.rounds[0]).split()[0] == "1"
    assert "Learning curves" in written(tmp_path, bare)
    assert "Learning curves" in written(tmp_path, replace(record, rounds=(), finished=False))


def test_what_a_record_says_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    record = replace(training(), label=evil, claim=evil, data=evil, sees=(evil,), classes=(evil,) * 10, partition=evil)
    assert "<script>" not in written(tmp_path, record)


def test_what_clients_have_noticed_is_on_the_page_and_in_the_terminal(tmp_path: Path) -> None:
    alarm = records.Alarm(client=2, detector="gap", round=1, step=7, score=0.9931, threshold=0.95)
    quiet, loud = replace(training(), detectors=("gap",)), replace(training("vanilla"), alarms=(alarm,))
    page = written(tmp_path, training("fedavg"), quiet, loud)
    assert "What the clients have noticed" in page
    assert "splitfed-v1: gap; none has raised an alarm." in page
    assert "vanilla: alarm at client 2, gap: 0.993 at step 7 of round 1, threshold 0.95." in page
    assert "fedavg: alarm" not in page
    text = " ".join(terminal.about(loud).split())
    assert "Detectors of the clients: alarm at client 2, gap: 0.993 at step 7 of round 1, threshold 0.95." in text
    assert "Detectors" not in terminal.about(training())
