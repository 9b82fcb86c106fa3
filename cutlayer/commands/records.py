"""Commands for the records of runs, trainings and studies."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from cutlayer.errors import ConfigError
from cutlayer.options import At
from cutlayer.terminal import say, tell

Runs = Positional[Annotated[Path, At("folder"), arg(metavar="RUNS")]]


def index(runs: Runs = Path("runs"), /) -> None:
    """Make the index of a folder of runs again from its folders: RUNS/index.sqlite, which the other commands read.

    They bring it up to date by themselves; this is for a folder that was copied, or to ask with SQL.
    """
    from cutlayer.bounded import reason
    from cutlayer.records.found import make_index

    if not runs.is_dir():
        raise ConfigError(f"There is no folder {runs}; name the folder of the records, such as runs.")
    counts, damaged = make_index(runs)
    for path, error in damaged:
        say(f"{path} is damaged ({reason(error)}), and is left out")
    finished, trainings, updates, classes = (counts[kind] for kind in ("run", "training", "update", "class-level"))
    tell(f"The index holds runs: {finished:,}, trainings: {trainings:,}, cells of studies: {updates + classes:,}.")


def export(
    runs: Runs = Path("runs"),
    /,
    parquet: Annotated[Path | None, At("file"), arg(metavar="FILE")] = None,
    csv: Annotated[Path | None, At("file"), arg(metavar="FILE")] = None,
    tensorboard: Annotated[Path | None, At("folder"), arg(metavar="DIR")] = None,
    mlflow: Annotated[str | None, arg(metavar="URI")] = None,
) -> None:
    """Write all figures of a folder of runs for another tool: those of runs, requests, studies and trainings.

    Give exactly one target. docs/experiments.md describes the columns.

    Args:
        runs: Folder of the records.
        parquet: A table with a row for each figure, as Parquet (extra parquet).
        csv: The same table as CSV.
        tensorboard: Event files, a folder for each run (extra tensorboard).
        mlflow: Address of MLflow's tracking server or store, such as http://localhost:5000 (extra mlflow).
    """
    from cutlayer.experiment.export import to_csv, to_mlflow, to_parquet, to_tensorboard

    if sum(target is not None for target in (parquet, csv, tensorboard, mlflow)) != 1:
        raise ConfigError("Name exactly one target: --parquet FILE, --csv FILE, --tensorboard DIR or --mlflow URI.")
    if parquet is not None:
        tell(f"{to_parquet(runs, parquet, say):,} rows are in {parquet.resolve()}")
    elif csv is not None:
        tell(f"{to_csv(runs, csv, say):,} rows are in {csv.resolve()}")
    elif tensorboard is not None:
        tell(f"{to_tensorboard(runs, tensorboard, say):,} records are in {tensorboard.resolve()}")
    elif mlflow is not None:
        tell(f"{to_mlflow(runs, mlflow, say):,} records are in the experiment cutlayer at {mlflow}")
