"""Reading the folders of finished runs, with the reason why another folder is no finished run."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import CutlayerError
from cutlayer.records.files import read_json
from cutlayer.records.reconstructions import Reconstructions, from_arrays
from cutlayer.records.run import EXPERIMENT, RESULT, Result, load_result


@dataclass(frozen=True)
class Run:
    """A finished run: its result and the files beside it.

    Attributes:
        env: `env.json`, empty when it is missing.
        pictures: The private inputs and what the attackers rebuilt; None where they could not be read.
        traces: Raw samples by ``deployment/column``.
        notes: What could not be read, one sentence each.
    """

    result: Result
    env: dict[str, Any] = field(default_factory=dict)
    pictures: Reconstructions | None = None
    traces: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """A folder that is no finished run, and why."""

    name: str
    reason: str


def read(runs: Path) -> tuple[list[Run], list[Skipped]]:
    """Every finished run under a folder, and the folders that were passed over.

    Raises:
        CutlayerError: There is no folder, or no finished run in it.
    """
    if not runs.is_dir():
        raise CutlayerError(f"There is no folder {runs}; make runs first with `cutlayer run EXPERIMENT.toml`.")
    finished, skipped = list[Run](), list[Skipped]()
    for folder in sorted(path for path in runs.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            finished.append(_read_run(folder))
        except FileNotFoundError:
            if not (folder / EXPERIMENT).exists():
                continue  # not a run, such as the folder of the trained models
            skipped.append(Skipped(folder.name, "It is unfinished: it has no result.json."))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            skipped.append(Skipped(folder.name, f"Its result.json is damaged: {_reason(error)}."))
    if not finished:
        passed_over = "".join(f" {s.name}: {s.reason}" for s in skipped[:3])
        raise CutlayerError(f"{runs} holds no finished run; make one with `cutlayer run EXPERIMENT.toml`.{passed_over}")
    return finished, skipped


def read_result(folder: Path) -> Result:
    """The result of the run in a folder.

    Raises:
        OSError: The folder has no `result.json` that can be read.
        KeyError, TypeError, ValueError: It is not of this schema.
    """
    return load_result(read_json(folder / RESULT))


def _read_run(folder: Path) -> Run:
    result = read_result(folder)
    notes: list[str] = []
    pictures = _pictures(folder / "reconstructions.npz", result, notes)
    traces = _arrays(folder / "requests.npz", notes)
    try:
        env = dict(read_json(folder / "env.json"))
    except (OSError, ValueError, TypeError) as error:
        env = {}
        notes.append(f"env.json cannot be read ({_reason(error)}); the environment is unknown.")
    return Run(result, env, pictures, traces, tuple(notes))


def _pictures(path: Path, result: Result, notes: list[str]) -> Reconstructions | None:
    """The reconstructions, or None and a note."""
    if not (arrays := _arrays(path, notes)):
        return None
    try:
        return from_arrays(arrays, result.cost[0].deployment if result.cost else "")
    except (KeyError, ValueError) as error:
        notes.append(f"{path.name} cannot be used ({_reason(error)}); no picture is shown.")
        return None


def _arrays(path: Path, notes: list[str]) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file, or none and a note."""
    try:
        # numpy leaves a file that it opened itself open when it holds no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        notes.append(f"{path.name} cannot be read ({_reason(error)}); what it holds is left out.")
        return {}


def _reason(error: Exception) -> str:
    """The reason of an error, without the path of the user's folder."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
