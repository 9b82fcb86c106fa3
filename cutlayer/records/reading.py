"""Reading finished runs, trainings and studies, with the reason why another folder is none.

The records come through the index, `cutlayer.records.found`; what lies beside them is read from the folders.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import read_arrays, read_json, reason
from cutlayer.errors import CutlayerError
from cutlayer.machine.lock import holder_of
from cutlayer.records import class_level, found, gradients, training
from cutlayer.records.cells import Record
from cutlayer.records.class_level import ClassRecord
from cutlayer.records.found import Kind
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.reconstructions import Reconstructions, from_arrays
from cutlayer.records.run import EXPERIMENT, RESULT, Result, load_result
from cutlayer.records.training import TrainingRecord

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Run:
    """A finished run: its result and the files beside it.

    Attributes:
        env: `env.json`, empty when it is missing.
        traces: Raw samples by ``deployment/column``.
        folder: Folder of the pictures; None where they are not wanted.
        found: What could not be read so far, one sentence each.
    """

    result: Result
    env: dict[str, Any] = field(default_factory=dict)
    traces: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    folder: Path | None = None
    found: list[str] = field(default_factory=list, compare=False)

    @property
    def pictures(self) -> Reconstructions | None:
        """The private inputs and what the attackers rebuilt; None where they cannot be read, which becomes a note.

        They are read when they are asked for, and those of the last few runs are kept: the pictures of hundreds of runs
        would fill the memory.
        """
        if self.folder is None:
            return None
        path = self.folder / "reconstructions.npz"
        try:
            written = path.stat()
            stamp = written.st_mtime_ns, written.st_size
        except OSError:
            stamp = None
        pictures, notes = _pictures(path, stamp, self.result.cost[0].deployment if self.result.cost else "")
        self.found.extend(note for note in notes if note not in self.found)
        return pictures

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be read, one sentence each; of the pictures once they were asked for."""
        return tuple(self.found)


@dataclass(frozen=True)
class Training:
    """A training: its record and the environment beside it; the fields are those of `Run`."""

    record: TrainingRecord
    env: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study(Generic[R]):
    """The finished cells of a study, and the environment beside them.

    Attributes:
        folder: Folder of the run, which holds the pictures as well.
        env: `env.json`, empty when it is missing.
    """

    folder: Path
    records: tuple[R, ...]
    env: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """A folder that is no finished run, and why; `running` where a process is at work in it now."""

    name: str
    reason: str
    running: bool = False


def read(runs: Path, *, arrays: bool = True) -> tuple[list[Run], list[Skipped]]:
    """Every finished run under a folder, and the folders that were passed over; `trainings` reads the others.

    Args:
        runs: The folder.
        arrays: Whether pictures and traces are read as well, which takes most of the time.

    Raises:
        CutlayerError: There is no folder, or neither a finished run nor a training nor a study in it.
    """
    if not runs.is_dir():
        raise CutlayerError(f"There is no folder {runs}; make runs first with `cutlayer run EXPERIMENT.toml`.")
    finished, skipped = list[Run](), list[Skipped]()
    here, done = found.folders(runs), set[Path]()
    for path, result in found.records(runs, found.RUN):
        done.add(path.parent)
        if isinstance(result, Exception):
            skipped.append(Skipped(path.parent.name, f"Its result.json is damaged: {reason(result)}."))
        else:
            finished.append(_run(path.parent, result, arrays=arrays))
    for folder in here:
        # Another one is no run, such as the folder of the trained models.
        if folder not in done and (folder / EXPERIMENT).exists():
            by = holder_of(folder)
            why = f"It is running: {by} is at work." if by else "It is unfinished: it has no result.json."
            skipped.append(Skipped(folder.name, why, by is not None))
    skipped.sort(key=lambda entry: entry.name)
    others = (training.TRAINING, gradients.CELLS, class_level.CELLS)
    if not finished and not any((folder / name).exists() for folder in here for name in others):
        passed_over = "".join(f" {s.name}: {s.reason}" for s in skipped[:3])
        raise CutlayerError(f"{runs} holds no finished run; make one with `cutlayer run EXPERIMENT.toml`.{passed_over}")
    return finished, skipped


def trainings(runs: Path) -> tuple[list[Training], list[Skipped]]:
    """Every training under a folder, finished or not, and the folders of those that cannot be read."""
    read, skipped = list[Training](), list[Skipped]()
    for path, record in found.records(runs, found.TRAINING):
        notes: list[str] = []
        if isinstance(record, Exception):
            skipped.append(Skipped(path.parent.name, f"Its {path.name} is damaged: {reason(record)}."))
        else:
            read.append(Training(record, _environment(path.parent / "env.json", notes), tuple(notes)))
    return read, skipped


def studies(runs: Path) -> tuple[list[Study[UpdateRecord]], list[Skipped]]:
    """Every study of updates under a folder, and the cells that cannot be read."""
    return _studies(runs, found.UPDATE)


def class_studies(runs: Path) -> tuple[list[Study[ClassRecord]], list[Skipped]]:
    """Every study of class-level inversion under a folder, and the cells that cannot be read."""
    return _studies(runs, found.CLASS_LEVEL)


def _studies(runs: Path, kind: Kind[R]) -> tuple[list[Study[R]], list[Skipped]]:
    cells, skipped = dict[Path, list[R]](), list[Skipped]()
    for path, record in found.records(runs, kind):
        folder = path.parent.parent
        if isinstance(record, Exception):
            skipped.append(Skipped(f"{folder.name}/{path.name}", f"It is damaged: {reason(record)}."))
        else:
            cells.setdefault(folder, []).append(record)
    studies = [Study(folder, tuple(some), _environment(folder / "env.json", [])) for folder, some in cells.items()]
    return studies, skipped


def read_finished(folder: Path, say: Callable[[str], None]) -> Result | None:
    """The result of the run in a folder; None where it is not finished, or damaged, which is said."""
    try:
        return read_result(folder)
    except FileNotFoundError:
        return None
    except found.DAMAGED as error:
        say(f"{folder / RESULT} is damaged ({reason(error)}), so that the run counts as unfinished")
        return None


def results(runs: Path) -> Iterator[Result]:
    """The results of all finished runs below a folder; damaged ones are passed over."""
    for _, result in found.records(runs, found.RUN):
        if not isinstance(result, Exception):
            yield result


def read_result(folder: Path) -> Result:
    """The result of the run in a folder.

    Raises:
        OSError: The folder has no `result.json` that can be read.
        KeyError, TypeError, ValueError: It is not of this schema.
    """
    return load_result(read_json(folder / RESULT))


def _run(folder: Path, result: Result, *, arrays: bool) -> Run:
    notes: list[str] = []
    traces = _arrays(folder / "requests.npz", notes) if arrays else {}
    env = _environment(folder / "env.json", notes)
    return Run(result, env, traces, folder if arrays else None, notes)


@functools.lru_cache(maxsize=2)
def _pictures(path: Path, stamp: tuple[int, int] | None, deployment: str) -> tuple[Reconstructions | None, list[str]]:
    """The reconstructions in a file that was last written at the time of the stamp, or None, and the notes about them.

    Args:
        path: The file.
        stamp: Time and size of the file, so that one that was written anew is read anew.
        deployment: The deployment of a file of the first version.
    """
    del stamp
    notes: list[str] = []
    if not (arrays := _arrays(path, notes)):
        return None, notes
    try:
        return from_arrays(arrays, deployment), notes
    except (KeyError, ValueError) as error:
        return None, [f"{path.name} cannot be used ({reason(error)}); no picture is shown."]


def _arrays(path: Path, notes: list[str]) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file, or none and a note."""
    try:
        return read_arrays(path)
    except (OSError, ValueError) as error:
        notes.append(f"{path.name} cannot be read ({reason(error)}); what it holds is left out.")
        return {}


def _environment(path: Path, notes: list[str]) -> dict[str, Any]:
    """The content of `env.json`, or nothing and a note."""
    try:
        env = read_json(path)
        parts = {"packages": dict, "threads": dict, "instruction_sets": list, "command": list}
        if not isinstance(env, dict) or not all(
            isinstance(env.get(key) or kind(), kind) for key, kind in parts.items()
        ):
            raise ValueError("it is not what a run writes")
        return env
    except (OSError, ValueError) as error:
        notes.append(f"env.json cannot be read ({reason(error)}); the environment is unknown.")
        return {}
