"""The index of a folder of runs, one SQLite file: what tools read in place of thousands of small files.

The table `records` holds the JSON of each finished run, of each training and of each cell of a study, with the size and
the time of its file, so that a record that was changed since is noticed. The tables `rows` and `metrics` are for people
who ask with SQL; see `cutlayer.records.rows`.

The folders are what counts: the index can be deleted, and is made again from them. SQLite's own locks and journal keep
it whole when many processes write, and when one is killed. It is never renamed or written anew while it is whole,
because a journal of the old file would then be taken for one of the new file.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

from cutlayer.bounded import MOST_JSON_BYTES, decoded, opened
from cutlayer.errors import WriteError
from cutlayer.machine.lock import only_one
from cutlayer.records import rows
from cutlayer.records.run import Result

log = logging.getLogger("cutlayer.records")

INDEX = "index.sqlite"

TABLE = """
create table records (
    kind text, id text, path text primary key, size integer, mtime_ns integer, checksum integer, record text)"""

WAIT_S = 60.0
"""Time in seconds after which a writer gives up that waits for others."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

State = tuple[object, object]
"""Size in bytes and time of the last change in ns of a file."""


@dataclass(frozen=True)
class Entry:
    """The record in one file.

    Attributes:
        kind: ``run``, ``training``, ``update`` or ``class-level``.
        id: Id of the record.
        path: Of the file, below the folder of runs.
        state: Of the file.
        text: Content of the file.
        result: The record of a run, for the tables of figures; None for another kind.
    """

    kind: str
    id: str
    path: str
    state: State
    text: str
    result: Result | None = None


def read_file(path: Path) -> tuple[str, State]:
    """The text of a record's file, and the state that the file had then. Raises OSError, ValueError."""
    with opened(path) as file:
        content = file.read(MOST_JSON_BYTES + 1)
        status = os.fstat(file.fileno())
    if len(content) > MOST_JSON_BYTES:
        raise ValueError(f"it is larger than {MOST_JSON_BYTES >> 20} MiB")
    return decoded(content), (status.st_size, status.st_mtime_ns)


class Reader:
    """What an index holds; nothing where there is none that can be read, for then the folders say everything."""

    def __init__(self, database: sqlite3.Connection | None) -> None:
        self._database = database

    def states(self, kind: str) -> dict[str, State]:
        """The states of the files of one kind, by path, when they were put in."""
        found = self._ask("select path, size, mtime_ns from records where kind = ?", kind)
        return {str(path): (size, mtime_ns) for path, size, mtime_ns in found}

    def text(self, path: str) -> str | None:
        """The content of a file; None where it is not there, or damaged."""
        for text, checksum in self._ask("select record, checksum from records where path = ?", path):
            if isinstance(text, str) and zlib.crc32(text.encode()) == checksum:
                return text
        return None

    def _ask(self, query: str, value: str) -> list[tuple[object, ...]]:
        try:
            return [] if self._database is None else self._database.execute(query, (value,)).fetchall()
        except (sqlite3.Error, UnicodeError):
            return []


@contextmanager
def reader(runs: Path) -> Iterator[Reader]:
    """The index of a folder, open for reading."""
    path = runs / INDEX
    if not path.is_file():
        yield Reader(None)
        return
    # What a killed writer has left is rolled back by the next one who opens the file, and may write it.
    mode = "rw" if os.access(path, os.W_OK) and os.access(runs, os.W_OK) else "ro"
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", timeout=10.0, uri=True)
    except sqlite3.Error:
        yield Reader(None)
        return
    with closing(database):
        try:
            whole = _as_expected(database, {"records", *rows.TABLES})
        except (sqlite3.Error, UnicodeError):
            whole = False
        yield Reader(database if whole else None)


def put(runs: Path, entries: Iterable[Entry] = (), gone: Mapping[str, State] | None = None) -> None:
    """Put records into the index of a folder, in place of those of the same paths; all of them, or none.

    An index that is damaged, or has tables of another version, is moved aside, which is said in the log.

    Args:
        runs: The folder.
        entries: The records.
        gone: Paths of files that are no longer there, each with the state of what is deleted.

    Raises:
        WriteError: It cannot be written, or others have written it for more than `WAIT_S`.
    """
    path, entries = runs / INDEX, list(entries)

    def work(database: sqlite3.Connection) -> None:
        for name, state in (gone or {}).items():
            _remove(database, name, "and size is ? and mtime_ns is ?", *state)
        for entry in entries:
            _put(database, entry)

    try:
        try:
            _within(path, work)
        except sqlite3.Error as error:
            if not _is_damaged(error):
                raise
            _mended(path, work)
    except (sqlite3.Error, UnicodeError) as error:
        raise WriteError(f"{path} cannot be written: {error}; free some space, or name another folder.") from error


def note(runs: Path, kind: str, path: Path, id: str, result: Result | None = None) -> None:
    """Put a record that was just written into the index; where that fails, the next reader does it.

    Args:
        runs: Folder of the runs.
        kind: As in `Entry`.
        path: The file.
        id: Id of the record.
        result: The record of a run.
    """
    try:
        text, state = read_file(path)
        put(runs, [Entry(kind, id, path.relative_to(runs).as_posix(), state, text, result)])
    except (WriteError, OSError, ValueError) as error:
        log.warning("%s is not in the index yet: %s", path, error)


def forget_orphans(runs: Path) -> None:
    """Delete the figures of runs that are not in the index. Raises WriteError."""
    path = runs / INDEX
    try:
        _within(path, rows.forget_orphans)
    except sqlite3.Error as error:
        raise WriteError(f"{path} cannot be written: {error}; name another folder.") from error


def _within(path: Path, work: Callable[[sqlite3.Connection], None]) -> None:
    """Do the work in one transaction, for which others are waited for."""
    if (path.exists() or path.is_symlink()) and not path.is_file():
        raise _OtherSchema
    with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as database:
        database.execute("pragma trusted_schema = off")
        database.execute("begin immediate")
        try:
            for name, statement in _expected().items():
                if not database.execute("select 1 from sqlite_master where name = ?", (name,)).fetchone():
                    database.execute(statement)
            if not _as_expected(database, _expected().keys()):
                raise _OtherSchema
            work(database)
            database.execute("commit")
        except BaseException:
            if database.in_transaction:
                database.execute("rollback")
            raise


class _OtherSchema(sqlite3.DatabaseError):
    """The file is none, or the tables are not those of this version."""


def _is_damaged(error: sqlite3.Error) -> bool:
    # The primary result code is in the lowest byte.
    return isinstance(error, _OtherSchema) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _mended(path: Path, work: Callable[[sqlite3.Connection], None]) -> None:
    """Do the work in a new index; the damaged one gets another name, with its journal.

    Another process may have done so meanwhile, so that the work is tried once more before.
    """
    with only_one(path, say=log.warning):
        try:
            _within(path, work)
            return
        except sqlite3.Error as error:
            if not _is_damaged(error):
                raise
        aside = next(name for n in count(1) if not os.path.lexists(name := path.with_name(f"{INDEX}.damaged-{n}")))
        for end in ("-journal", "-wal", ""):
            if os.path.lexists(beside := path.with_name(f"{INDEX}{end}")):
                beside.rename(aside.with_name(f"{aside.name}{end}"))
        log.warning("%s is damaged, or of another version: it is made again; the old one is %s", path, aside.name)
        _within(path, work)


@cache
def _expected() -> dict[str, str]:
    """The statement of each table by its name, as SQLite keeps it."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(";".join((TABLE, *rows.TABLES.values())))
        return dict(database.execute("select name, sql from sqlite_master where type = 'table'").fetchall())


def _as_expected(database: sqlite3.Connection, names: Iterable[str]) -> bool:
    """Whether these tables are those of this version, and nothing else acts when they are read or written."""
    found = database.execute("select type, name, sql from sqlite_master").fetchall()
    tables = {name: sql for type, name, sql in found if type == "table"}
    return all(tables.get(name) == _expected()[name] for name in names) and "trigger" not in {
        type for type, *_ in found
    }


def _put(database: sqlite3.Connection, entry: Entry) -> None:
    _remove(database, entry.path)
    database.execute(
        "insert into records values (?, ?, ?, ?, ?, ?, ?)",
        (entry.kind, rows.plain(entry.id), entry.path, *entry.state, zlib.crc32(entry.text.encode()), entry.text),
    )
    if entry.result is not None:
        rows.put(database, entry.result)


def _remove(database: sqlite3.Connection, path: str, condition: str = "", *values: object) -> None:
    found = database.execute(f"select kind, id from records where path = ? {condition}", (path, *values)).fetchone()
    if found is None:
        return
    database.execute("delete from records where path = ?", (path,))
    # A copy of the folder has the same id, and the same figures.
    if not database.execute("select 1 from records where kind = ? and id = ?", found).fetchone() and found[0] == "run":
        rows.forget(database, found[1])
