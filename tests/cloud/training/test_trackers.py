"""What a training writes elsewhere; the packages are stood in for."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cutlayer.cloud.training import trackers
from cutlayer.errors import ConfigError
from tests.report.trainings.made import training


def test_tensorboard_gets_a_scalar_of_each_kind_for_each_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert Path(folder) == tmp_path / "tensorboard"
            assert purge_step == 7

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            written.append(("flush", 0.0, 0))

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    record = training()
    track = trackers.opened("tensorboard", record, tmp_path)
    track(record.rounds[0])
    assert ("accuracy/all", pytest.approx(0.32), 1) in written
    assert ("bytes/up smashed", 1_000_000.0, 1) in written
    assert written[-1][0] == "flush"
    assert {step for name, _, step in written if name != "flush"} == {1}


def test_mlflow_gets_the_plan_and_the_rounds_and_is_closed_after_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []
    names = "set_experiment", "log_params", "end_run"
    fake: Any = SimpleNamespace(**{n: lambda *args, n=n: calls.append((n, args)) for n in names})
    fake.start_run = lambda run_name: SimpleNamespace(info=SimpleNamespace(run_id="7"))
    fake.log_metrics = lambda values, step, run_id: calls.append((run_id, (step, values)))
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    record = training()
    track = trackers.opened("mlflow", record, tmp_path)
    for entry in record.rounds:
        track(entry)
    logged = [what for name, what in calls if name == "7"]
    assert [step for step, _ in logged] == [1, 2, 3, 4, 5, 6]
    assert all(" " not in name for _, values in logged for name in values)
    assert calls[-1][0] == "end_run"


def test_a_tracker_that_fails_or_is_not_known_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> trackers.Track:
        raise RuntimeError("the database is away")

    monkeypatch.setattr(trackers, "TRACKERS", {"mlflow": broken})
    with pytest.raises(ConfigError, match="--log mlflow cannot be used: the database is away"):
        trackers.opened("mlflow", training(), tmp_path)
    with pytest.raises(ConfigError, match="did you mean mlflow"):
        trackers.check("mlfow")
