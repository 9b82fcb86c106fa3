"""The files of a profile that programs read."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cutlayer.trace import STAGES

JSON, CSV = "profile.json", "profile.csv"


def save(folder: Path, data: Mapping[str, Any]) -> None:
    """Write `profile.json` and `profile.csv`, each by an atomic rename."""
    _replace(folder / JSON, json.dumps(data, indent=1) + "\n")
    stages = [f"{stage}_ns" for stage in STAGES]
    columns = ["cut", "codec", "network", "source", "n", "end_to_end_ns", "end_to_end_p95_ns", "end_to_end_p99_ns"]
    columns += [*stages, "bytes", "peak_rss_bytes", "params", "macs", "accuracy", "leakage"]
    part = folder / f".{CSV}.part"
    with part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for cut in data["cuts"]:
            for network, by_codec in cut["networks"].items():
                for codec, told in by_codec.items():
                    known, took = cut["codecs"][codec], told["end_to_end_ns"]
                    writer.writerow(
                        [
                            cut["cut"], codec, network, told["source"],
                            *(took[name] for name in ("n", "p50", "p95", "p99")),
                            *(round(told["stages_ns"][stage]) for stage in STAGES),
                            known["bytes"], cut["peak_rss_bytes"], cut["params"], cut["macs"],
                            *(known[name]["value"] if name in known else None for name in ("accuracy", "leakage")),
                        ]
                    )  # fmt: skip
    part.replace(folder / CSV)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
