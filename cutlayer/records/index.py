"""The index of all results: one row for each experiment, deployment and attack, and one for each of its metrics."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from cutlayer.records.run import Result

_TABLES = """
create table if not exists rows (
    experiment text, name text, data text, model text, cut text, defense text, transport text, head text, seed integer,
    attack text, n integer, mse real, psnr_db real, ssim real, identification real, leakage_gain real,
    accuracy real, p50_ns integer, message_bytes integer,
    primary key (experiment, transport, head, attack));
create table if not exists metrics (
    experiment text, transport text, head text, attack text, metric text, value real, n integer, low real, high real,
    primary key (experiment, transport, head, attack, metric))"""


def index(runs: Path, result: Result) -> None:
    """Put the rows of a result into `runs/index.sqlite`; a repeated call replaces them.

    The table `rows` has a column for each of four metrics; the table `metrics` has a row for every metric.
    """
    cost = {entry.deployment: entry for entry in result.cost}
    with closing(sqlite3.connect(runs / "index.sqlite")) as database, database:
        database.executescript(_TABLES)
        for attack in result.privacy:
            where, scores = cost[attack.deployment], attack.metrics
            columns = (scores.get(name) for name in ("mse", "psnr", "ssim", "identification"))
            key = result.id, where.transport, where.head, attack.label
            database.execute(
                f"insert or replace into rows values ({', '.join('?' * 19)})",
                (
                    result.id, result.name, result.data, result.model, result.cut, result.defense_label,
                    where.transport, where.head, result.seed, attack.label, attack.n,
                    *(score and score.value for score in columns), attack.leakage_gain.value,
                    result.utility.accuracy.value, where.end_to_end["p50"], where.message_bytes,
                ),
            )  # fmt: skip
            database.executemany(
                f"insert or replace into metrics values ({', '.join('?' * 9)})",
                [(*key, name, score.value, score.n, score.low, score.high) for name, score in scores.items()],
            )
