"""The records below a folder of runs, from the index where their files have not changed since, else from the files.

The index is brought up to date on the way. Where it cannot be written, or is away, the answer is the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from cutlayer.bounded import parse_json
from cutlayer.errors import WriteError
from cutlayer.records import class_level, gradients, index, training
from cutlayer.records.class_level import ClassRecord
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.index import Entry, Reader
from cutlayer.records.run import RESULT, Result, load_result
from cutlayer.records.training import TrainingRecord, load_training

BATCH = 200
"""Records that are put into the index at once."""

DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What the reading of a damaged record raises."""


class HasId(Protocol):
    """What all records have in common."""

    @property
    def id(self) -> str:
        """Id of the record."""
        ...


R = TypeVar("R", bound=HasId)


@dataclass(frozen=True)
class Kind(Generic[R]):
    """One kind of records.

    Attributes:
        name: Name in the index.
        pattern: The files, below the folder of a run.
        load: Makes the record of the JSON in a file.
    """

    name: str
    pattern: str
    load: Callable[[Any], R]

    def files(self, runs: Path) -> Iterator[Path]:
        """The files of this kind below a folder of runs, in order."""
        for folder in folders(runs):
            yield from sorted(folder.glob(self.pattern)) if "*" in self.pattern else [folder / self.pattern]


RUN = Kind[Result]("run", RESULT, load_result)
TRAINING = Kind[TrainingRecord]("training", training.TRAINING, load_training)
UPDATE = Kind[UpdateRecord](gradients.STUDY.name, f"{gradients.CELLS}/*.json", gradients.STUDY.load)
CLASS_LEVEL = Kind[ClassRecord](class_level.STUDY.name, f"{class_level.CELLS}/*.json", class_level.STUDY.load)
KINDS: tuple[Kind[Any], ...] = (RUN, TRAINING, UPDATE, CLASS_LEVEL)


def folders(runs: Path) -> list[Path]:
    """The folders of runs, in order; those whose name begins with a dot are none."""
    with os.scandir(runs) as entries:
        # A link that leads to itself is no folder, and no error.
        below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) or os.path.isdir(entry)]
    return [runs / name for name in sorted(below) if not name.startswith(".")]


def records(runs: Path, kind: Kind[R], *, anew: bool = False) -> Iterator[tuple[Path, R | Exception]]:
    """Every record of a kind below a folder, with its file; in place of a damaged one the error says why.

    Args:
        runs: Folder of the runs.
        kind: The kind.
        anew: Whether all files are read, whatever the index holds; then the index has to be written.

    Raises:
        OSError: The folder cannot be listed.
        WriteError: The index cannot be written, with `anew`.
    """
    writable = anew or os.access(runs, os.W_OK)
    fresh = list[Entry]()

    def keep(gone: dict[str, index.State] | None = None) -> None:
        nonlocal writable
        if writable and (fresh or gone):
            try:
                index.put(runs, fresh, gone)
            except WriteError:
                if anew:
                    raise
                writable = False
        fresh.clear()

    with index.reader(runs) as kept:
        known = kept.states(kind.name)  # before the files are listed: what is new meanwhile is not taken for deleted
        for path in kind.files(runs):
            name = path.relative_to(runs).as_posix()
            state = known.get(name)
            try:
                record, entry = _record(path, name, kind, kept, None if anew else state)
            except FileNotFoundError:
                continue
            except DAMAGED as error:
                yield path, error
                continue
            known.pop(name, None)
            if entry is not None and _is_text(name):
                fresh.append(entry)
            if len(fresh) >= BATCH:
                keep()
            yield path, record
    keep(known)


def make_index(runs: Path) -> tuple[dict[str, int], list[tuple[Path, Exception]]]:
    """Make the index of a folder again from its files.

    Returns:
        How many records of each kind it holds, and the files that are damaged.

    Raises:
        OSError: The folder cannot be listed.
        WriteError: The index cannot be written.
    """
    counts, damaged = dict[str, int](), list[tuple[Path, Exception]]()
    index.put(runs)
    for kind in KINDS:
        counts[kind.name] = 0
        for path, record in records(runs, kind, anew=True):
            if isinstance(record, Exception):
                damaged.append((path, record))
            else:
                counts[kind.name] += 1
    index.forget_orphans(runs)
    return counts, damaged


def _record(path: Path, name: str, kind: Kind[R], kept: Reader, state: index.State | None) -> tuple[R, Entry | None]:
    """The record in a file, and what is to be put into the index where it is not there as it is."""
    if state is not None:
        status = path.stat()
        if state == (status.st_size, status.st_mtime_ns) and (text := kept.text(name)) is not None:
            return kind.load(parse_json(text.encode())), None
    text, state = index.read_file(path)
    record = kind.load(parse_json(text.encode()))
    result = record if isinstance(record, Result) else None
    return record, Entry(kind.name, record.id, name, state, text, result)


def _is_text(name: str) -> bool:
    """Whether a path is text, which SQLite wants; others are read from their files each time."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False
