"""Writing the files of a finished run, each by an atomic rename, and its place in the index."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cutlayer.records.dataclass_json import dump
from cutlayer.records.files import write_arrays, write_json
from cutlayer.records.index import note
from cutlayer.records.reconstructions import Reconstructions
from cutlayer.records.run import RESULT, Result
from cutlayer.trace import Columns


def finish(
    runs: Path,
    result: Result,
    env: Mapping[str, Any],
    timed: Mapping[str, Columns],
    answers: Mapping[str, NDArray[Any]],
    reconstructions: Reconstructions,
    scores: Mapping[str, NDArray[Any]],
) -> None:
    """Write all that a finished experiment leaves; `result.json`, which says that it is finished, is the last file.

    Args:
        runs: Folder of all runs.
        result: The result.
        env: What the figures depend on, as `cutlayer.machine.identity.environment` gives it.
        timed: Trace columns by deployment.
        answers: The true classes of the test inputs as ``labels``, and what was answered, classes or vectors:
            ``undefended``, and ``served/DEPLOYMENT``.
        reconstructions: What the attackers rebuilt.
        scores: Score of each reconstruction, by ``deployment/attack/metric``.
    """
    folder = runs / result.id
    traces = {f"{label}/{name}": values for label, columns in timed.items() for name, values in columns.items()}
    write_arrays(folder / "requests.npz", traces)
    write_arrays(folder / "answers.npz", answers)
    write_arrays(folder / "reconstructions.npz", reconstructions.arrays())
    write_arrays(folder / "scores.npz", scores)
    write_json(folder / "env.json", env)
    write_json(path := folder / RESULT, dump(result))
    note(runs, "run", path, result.id, result)
