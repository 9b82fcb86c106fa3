"""The index of all results: one row for each experiment, deployment and attack."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

_ROWS = """create table if not exists rows (
    experiment text, name text, data text, model text, cut text, defense text, transport text, head text, seed integer,
    attack text, n integer, mse real, psnr_db real, ssim real, identification real, leakage_gain real,
    accuracy real, p50_ns integer, message_bytes integer,
    primary key (experiment, transport, head, attack))"""


def index(runs: Path, result: dict[str, Any]) -> None:
    """Put one row per deployment and attack into `runs/index.sqlite`; a repeated call replaces them."""
    cost = {entry["deployment"]: entry for entry in result["cost"]}
    with sqlite3.connect(runs / "index.sqlite") as database:
        database.execute(_ROWS)
        for row in result["privacy"]:
            where, metrics = cost[row["deployment"]], {k: v["value"] for k, v in row["metrics"].items()}
            database.execute(
                f"insert or replace into rows values ({', '.join('?' * 19)})",
                (
                    result["id"], result["name"], result["data"], result["model"], result["cut"],
                    result["defense_label"], where["transport"], where["head"], result["seed"],
                    row["label"], row["n"], metrics["mse"], metrics["psnr"], metrics["ssim"], metrics["identification"],
                    row["leakage_gain"]["value"], result["utility"]["accuracy"]["value"],
                    where["end_to_end"]["p50"], where["message_bytes"],
                ),
            )  # fmt: skip
    database.close()
