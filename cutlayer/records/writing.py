"""Writing the files of a finished run, each by an atomic rename, and its rows in the index."""

from pathlib import Path
from typing import Any

from cutlayer.machine.identity import environment
from cutlayer.records.dataclass_json import dump
from cutlayer.records.files import write_arrays, write_json
from cutlayer.records.index import index
from cutlayer.records.run import RESULT, Result
from cutlayer.trace import Columns


def finish(runs: Path, result: Result, timed: dict[str, Columns], pictures: dict[str, Any]) -> None:
    """Write all that a finished experiment leaves; `result.json`, which says that it is finished, comes last."""
    folder = runs / result.id
    traces = {f"{label}/{name}": values for label, columns in timed.items() for name, values in columns.items()}
    write_arrays(folder / "requests.npz", traces)
    write_arrays(folder / "reconstructions.npz", pictures)
    write_json(folder / "env.json", environment())
    index(runs, result)
    write_json(folder / RESULT, dump(result))
