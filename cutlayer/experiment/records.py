"""What a run writes: small files, each by an atomic rename, and one row per result in an index."""

import json
import os
import platform
import sqlite3
import subprocess
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

import cutlayer
from cutlayer.experiment.nouns import Experiment
from cutlayer.trace import Columns

PACKAGES = ("torch", "torchvision", "onnxruntime", "onnx", "numpy", "grpcio", "pyzmq", "protobuf")

RESULT = "result.json"

_ROWS = """create table if not exists rows (
    experiment text, name text, data text, model text, cut text, defense text, transport text, head text, seed integer,
    attack text, n integer, mse real, psnr_db real, ssim real, identification real, leakage_gain real,
    accuracy real, p50_ns integer, message_bytes integer,
    primary key (experiment, transport, head, attack))"""


def write_json(path: Path, value: Any) -> None:
    """Write by an atomic rename: a reader sees the old file, the new one, or none."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text())


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Like `write_json`, for arrays in one `.npz`."""
    temporary = path.with_name(path.name + ".part.npz")
    np.savez_compressed(temporary, allow_pickle=False, **arrays)
    temporary.replace(path)


def finish(runs: Path, record: dict[str, Any], timed: dict[str, Columns], pictures: dict[str, Any]) -> None:
    """Write all that a finished experiment leaves; `result.json`, which says that it is finished, comes last."""
    folder = runs / record["id"]
    write_arrays(
        folder / "requests.npz", {f"{d}/{name}": v for d, columns in timed.items() for name, v in columns.items()}
    )
    write_arrays(folder / "reconstructions.npz", pictures)
    write_json(folder / "env.json", environment())
    index(runs, record)
    write_json(folder / RESULT, record)


def environment() -> dict[str, Any]:
    """What the figures depend on: code, versions, machine, threads, clock."""
    clock = time.get_clock_info("monotonic")
    return {
        "cutlayer": cutlayer.__version__,
        **_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": psutil.cpu_count(logical=True),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: version(name) for name in PACKAGES},
        "threads": {"attacker": torch.get_num_threads()},
        "clock": f"{clock.implementation}, resolution {clock.resolution * 1e9:.0f} ns",
        "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


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


def _commit() -> dict[str, Any]:
    """The checkout's commit, or None where cutlayer runs from an installed package."""
    here = Path(cutlayer.__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "--short=12", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _cpu() -> str:
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def toml(experiment: Experiment) -> str:
    """The experiment as a plan of one, which `plan.load` reads back to the same id."""
    lines = [f"{key} = {_value(getattr(experiment, key))}" for key in ("name", "claim", "data", "model", "cut", "seed")]
    sections: list[tuple[str, dict[str, Any]]] = [
        ("[training]", asdict(experiment.training)),
        ("[measure]", asdict(experiment.measure)),
        *(("[[deployment]]", asdict(one)) for one in experiment.deployments),
        *((f"[[{kind}]]", {"name": one.name, "title": one.title or None, **one.options}) for kind, many in (
            ("defense", (experiment.defense,)), ("attack", experiment.attacks)) for one in many),
        *(("[[published]]", asdict(one)) for one in experiment.published),
    ]  # fmt: skip
    for header, table in sections:
        lines += ["", header, *(f"{key} = {_value(value)}" for key, value in table.items() if value is not None)]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """A TOML value; JSON's strings, numbers, booleans and lists are TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + "}"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
