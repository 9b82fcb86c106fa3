"""The index of all results: one row for each experiment, deployment and attack, and one for each of its metrics."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import cache
from itertools import count
from pathlib import Path

from cutlayer.errors import WriteError
from cutlayer.machine.lock import only_one
from cutlayer.records.reading import results
from cutlayer.records.run import Estimate, Result

INDEX = "index.sqlite"

_TABLES = """
create table if not exists rows (
    experiment text, name text, data text, model text, cut text, defense text, transport text, head text, seed integer,
    attack text, n integer, mse real, psnr_db real, ssim real, identification real, leakage_gain real,
    accuracy real, p50_ns integer, message_bytes integer,
    primary key (experiment, transport, head, attack));
create table if not exists metrics (
    experiment text, transport text, head text, attack text, metric text, value real, n integer, low real, high real,
    primary key (experiment, transport, head, attack, metric))"""

_TABLE_NAMES = ("rows", "metrics")

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def index(runs: Path, result: Result, say: Callable[[str], None]) -> None:
    """Put the rows of a result into `runs/index.sqlite`; a repeated call replaces them.

    The table `rows` has a column for each of four metrics; the table `metrics` has a row for every metric and every way
    to identify an input, and one, `identified`, for the attack of the run that identifies most of them. An index
    that is damaged, or is of another schema, is moved aside and made again from the results of all runs, which is said.

    Raises:
        WriteError: It cannot be written.
    """
    path = runs / INDEX
    try:
        # One process at a time: the others wait here, and not at SQLite, which gives up after a while.
        with only_one(path, say=say):
            _index(path, result, say)
    except sqlite3.OperationalError as error:
        raise WriteError(f"{path} cannot be written: {error}; free some space, or name another folder.") from error


def _index(path: Path, result: Result, say: Callable[[str], None]) -> None:
    runs = path.parent
    try:
        if path.is_file() or not (path.exists() or path.is_symlink()):
            _put(path, [result])
            return
    except sqlite3.Error as error:
        # The primary result code is in the lowest byte.
        if not isinstance(error, _OtherSchema) and getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            raise
    aside = next(name for n in count(1) if not (name := runs / f"{INDEX}.damaged-{n}").exists())
    path.rename(aside)
    say(f"{path} is damaged, or of another version: it is made again from all results, and the old one is {aside.name}")
    _put(path, [*results(runs), result])


class _OtherSchema(sqlite3.DatabaseError):
    """The tables have other columns than those of this version."""


def _put(path: Path, results: Iterable[Result]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(_TABLES)
        if _columns(database) != _expected_columns():
            raise _OtherSchema
        for result in results:
            _put_result(database, result)


def _columns(database: sqlite3.Connection) -> dict[str, list[str]]:
    return {table: [name for _, name, *_ in database.execute(f"pragma table_info({table})")] for table in _TABLE_NAMES}


@cache
def _expected_columns() -> dict[str, list[str]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(_TABLES)
        return _columns(database)


def _put_result(database: sqlite3.Connection, result: Result) -> None:
    cost = {entry.deployment: entry for entry in result.cost}
    # The record of another run, perhaps damaged, may lack a deployment.
    for attack in (attack for attack in result.privacy if attack.deployment in cost):
        where, scores = cost[attack.deployment], attack.metrics
        columns = (scores.get(name) for name in ("mse", "psnr", "ssim", "identification"))
        key = result.id, where.transport, where.head, attack.label
        database.execute(
            f"insert or replace into rows values ({', '.join('?' * len(_expected_columns()['rows']))})",
            (
                result.id, result.name, result.data, result.model, result.cut, result.defense_label,
                where.transport, where.head, result.seed, attack.label, attack.n,
                *(score and score.value for score in columns), attack.leakage_gain.value,
                result.utility.accuracy.value, where.end_to_end["p50"], where.message_bytes,
            ),
        )  # fmt: skip
        _put_metrics(database, key, scores)
    for found in (found for found in result.identification if found.deployment in cost):
        where = cost[found.deployment]
        shares = {f"identified, {found.how}": found.top_1, f"among the first ten, {found.how}": found.top_10}
        if found == result.identified:
            shares["identified"] = found.top_1
        _put_metrics(database, (result.id, where.transport, where.head, found.label), shares)


def _put_metrics(database: sqlite3.Connection, key: tuple[str, ...], scores: Mapping[str, Estimate]) -> None:
    database.executemany(
        f"insert or replace into metrics values ({', '.join('?' * len(_expected_columns()['metrics']))})",
        [(*key, name, score.value, score.n, score.low, score.high) for name, score in scores.items()],
    )
