"""The figures of runs as tables of the index, for readers who ask with SQL.

`rows` has one row for each experiment, deployment and attack, with a column for each of four metrics. `metrics` has one
for every metric and every way to identify an input, and one, `identified`, for the attack of the run that identifies
most of them. Where answers are vectors, the accuracy is null, and `metrics` has rows without an attack for ``cosine``
and ``same-nearest``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from cutlayer.records.run import Estimate, Result

TABLES = {
    "rows": """
create table rows (
    experiment text, name text, data text, model text, cut text, defense text, transport text, head text, seed integer,
    attack text, n integer, mse real, psnr_db real, ssim real, identification real, leakage_gain real,
    accuracy real, p50_ns integer, message_bytes integer,
    primary key (experiment, transport, head, attack))""",
    "metrics": """
create table metrics (
    experiment text, transport text, head text, attack text, metric text, value real, n integer, low real, high real,
    primary key (experiment, transport, head, attack, metric))""",
}
"""The statement that makes each table, by its name."""


def put(database: sqlite3.Connection, result: Result) -> None:
    """Put the figures of a run in, in place of those that are there."""
    cost = {entry.deployment: entry for entry in result.cost}
    # The record of another run, perhaps damaged, may lack a deployment.
    for attack in (attack for attack in result.privacy if attack.deployment in cost):
        where, scores = cost[attack.deployment], attack.metrics
        columns = (scores.get(name) for name in ("mse", "psnr", "ssim", "identification"))
        _insert(database, "rows", (
            result.id, result.name, result.data, result.model, result.cut, result.defense_label,
            where.transport, where.head, result.seed, attack.label, attack.n,
            *(score and score.value for score in columns), attack.leakage_gain.value,
            result.utility.accuracy and result.utility.accuracy.value, where.end_to_end.get("p50"), where.message_bytes,
        ))  # fmt: skip
        _put_metrics(database, (result.id, where.transport, where.head, attack.label), scores)
    if (vectors := result.utility.vectors) and result.cost:
        # The answers of the first deployment are those that count.
        nearest = {"same-nearest": vectors.same_nearest} if vectors.same_nearest else {}
        key = (result.id, result.cost[0].transport, result.cost[0].head, "")
        _put_metrics(database, key, {"cosine": vectors.cosine} | nearest)
    for found in (found for found in result.identification if found.deployment in cost):
        where = cost[found.deployment]
        shares = {f"identified, {found.how}": found.top_1, f"among the first ten, {found.how}": found.top_10}
        if found == result.identified:
            shares["identified"] = found.top_1
        _put_metrics(database, (result.id, where.transport, where.head, found.label), shares)


def forget(database: sqlite3.Connection, experiment: str) -> None:
    """Delete the figures of a run."""
    for table in TABLES:
        database.execute(f"delete from {table} where experiment = ?", (plain(experiment),))


def forget_orphans(database: sqlite3.Connection) -> None:
    """Delete the figures of runs of which the index has no record."""
    known = "select id from records where kind = 'run' and id is not null"
    for table in TABLES:
        database.execute(f"delete from {table} where experiment not in ({known})")


def plain(text: str) -> str:
    """A text that SQLite takes: a foreign JSON may hold halves of letters, which are no text."""
    return text.encode(errors="backslashreplace").decode()


def _put_metrics(database: sqlite3.Connection, key: tuple[str, ...], scores: Mapping[str, Estimate]) -> None:
    for name, score in scores.items():
        _insert(database, "metrics", (*key, name, score.value, score.n, score.low, score.high))


def _insert(database: sqlite3.Connection, table: str, values: tuple[object, ...]) -> None:
    values = tuple(plain(value) if isinstance(value, str) else value for value in values)
    database.execute(f"insert or replace into {table} values ({', '.join('?' * len(values))})", values)
