"""What a run writes: small files, each by an atomic rename, and one row per result in an index."""

from pathlib import Path
from typing import Any

from cutlayer.machine.identity import environment
from cutlayer.records.files import write_arrays, write_json
from cutlayer.records.index import index
from cutlayer.trace import Columns

RESULT = "result.json"


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
