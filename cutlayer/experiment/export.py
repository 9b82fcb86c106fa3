"""The records of a folder of runs for other tools: Parquet, CSV, TensorBoard, MLflow.

Parquet and CSV hold the table of `cutlayer.records.long_table`. TensorBoard and MLflow get a run for each record, with
its axes as parameters; trainings go through `cutlayer.cloud.training.trackers`, as they do while they run.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields, replace
from itertools import groupby
from pathlib import Path
from typing import get_type_hints

from cutlayer.bounded import reason
from cutlayer.cloud.training import trackers
from cutlayer.errors import ConfigError
from cutlayer.foreign import cell
from cutlayer.machine.files import check_writable, new_file, new_path
from cutlayer.models.kept import Say
from cutlayer.records import reading
from cutlayer.records.long_table import Row, rows

COLUMNS = tuple(field.name for field in fields(Row))

AXES = (
    "kind",
    "study",
    "name",
    "commit",
    "data",
    "model",
    "cut",
    "seed",
    "defense_label",
    "codec",
    "epochs",
    "samples",
)
"""The columns that are the same for all rows of one record, and say what it is."""

BATCH = 50_000
"""Rows of a Parquet file that are in memory at once."""


def to_csv(runs: Path, path: Path, say: Say) -> int:
    """Write the table as CSV in UTF-8; what is not known is empty. Returns the number of rows.

    Texts of others are written so that no spreadsheet computes them; see `cutlayer.foreign.cell`. `say` is called with
    a sentence for each record that is left out.

    Raises:
        CutlayerError: There are no runs.
        WriteError: It cannot be written.
    """
    check_writable(path, "file")
    written = 0
    with new_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for row in rows(runs, say):
            writer.writerow(map(cell, astuple(row)))
            written += 1
        text.detach()
    return written


def to_parquet(runs: Path, path: Path, say: Say) -> int:
    """Write the table as Parquet; what is not known is null. See `to_csv`."""
    import pyarrow
    from pyarrow import parquet

    check_writable(path, "file")
    types = {"int": pyarrow.int64(), "float": pyarrow.float64(), "str": pyarrow.string()}
    hints = {name: str(getattr(kind, "__name__", kind)).partition(" ")[0] for name, kind in get_type_hints(Row).items()}
    schema = pyarrow.schema([(name, types[hints[name]]) for name in COLUMNS])
    count = 0
    with new_path(path) as part, parquet.ParquetWriter(part, schema) as writer:
        for batch in _batches(rows(runs, say)):
            columns = list(zip(*map(astuple, batch), strict=True))
            writer.write_table(pyarrow.table(list(map(list, columns)), schema=schema))
            count += len(batch)
    return count


def to_tensorboard(runs: Path, folder: Path, say: Say) -> int:
    """Write event files, a folder for each record: its figures as scalars, its axes as hyper-parameters.

    Returns:
        The number of records.

    Raises:
        CutlayerError: There are no runs.
        WriteError: The folder cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    check_writable(folder, "folder")
    written = 0
    for record in _by_record(rows(runs, say)):
        written += 1
        if record[0].kind == "training":
            continue
        with SummaryWriter(str(folder / record[0].id), purge_step=0) as writer:
            for name, value in _scalars(record).items():
                writer.add_scalar(name, value, 0)
            axes = {axis: str(getattr(record[0], axis)) for axis in AXES}
            writer.add_hparams(axes, {"figures": float(len(record))}, run_name=".")
    for trained in reading.trainings(runs)[0]:
        track = trackers.tensorboard(replace(trained.record, rounds=()), folder / trained.record.id)
        for entry in trained.record.rounds:
            track(entry)
    return written


def to_mlflow(runs: Path, uri: str, say: Say) -> int:
    """Write a run for each record into MLflow's experiment ``cutlayer``, in place of one that was exported before.

    Args:
        runs: Folder of the runs.
        uri: Address of a server, or of a folder, as MLflow's tracking URI.
        say: See `rows`.

    Returns:
        The number of records.

    Raises:
        CutlayerError: There are no runs.
        ConfigError: MLflow cannot be written to; the message says why.
    """
    import mlflow

    try:
        mlflow.set_tracking_uri(uri)
        experiment = mlflow.set_experiment("cutlayer")
        client = mlflow.MlflowClient()
        written = 0
        for record in _by_record(rows(runs, say)):
            first, written = record[0], written + 1
            tags = {"cutlayer.id": first.id, "cutlayer.kind": first.kind}
            found = client.search_runs([experiment.experiment_id], f"tags.`cutlayer.id` = '{_named(first.id)}'")
            for old in found:
                client.delete_run(old.info.run_id)
            with mlflow.start_run(run_name=f"{first.name} {first.id}", tags=tags):
                mlflow.log_params({axis: str(getattr(first, axis))[:500] for axis in AXES})
                for number, some in groupby(record, key=lambda row: row.round or 0):
                    named = {_named(name): value for name, value in _scalars(some).items()}
                    mlflow.log_metrics(named, step=number)
    except mlflow.exceptions.MlflowException as error:
        raise ConfigError(f"{uri} cannot be written to by MLflow: {reason(error)}") from error
    return written


def _batches(of: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in of:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _by_record(of: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of each record; those of one record follow each other."""
    for _, record in groupby(of, key=lambda row: (row.id, row.study)):
        yield list(record)


def _scalars(record: Iterable[Row]) -> dict[str, float]:
    """The figures that are known, by place, attack, metric and statistic."""
    return {
        "/".join(filter(None, (row.deployment, row.attack_label, row.metric, row.statistic))): row.value
        for row in record
        if row.value is not None
    }


def _named(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w./ -]", "_", name)[:250]
