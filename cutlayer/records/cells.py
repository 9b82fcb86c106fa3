"""The folder of a study: plan, environment, and a record of each finished cell, so that a killed study goes on.

Beside the record `ID.json` of a cell lies `ID.npz`, with a few pictures, where there are any.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from cutlayer.bounded import read_arrays, read_json
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import write_arrays, write_json, write_text
from cutlayer.records.index import note

SCHEMA = 1


class Record(Protocol):
    """What a cell leaves: a dataclass that JSON can describe."""

    @property
    def id(self) -> str:
        """Id of the cell, and name of its files."""
        ...

    @property
    def study(self) -> str:
        """Id of the study, and name of its folder."""
        ...

    @property
    def failed(self) -> str:
        """Why there is no score; empty where there is one."""
        ...


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Cells(Generic[R]):
    """How the cells of one kind of study lie on disk.

    Attributes:
        name: Name of the kind of its cells in the index.
        kind: Class of the records.
        plan: Name of the file of the plan.
        folder: Name of the folder of the cells.
    """

    name: str
    kind: type[R]
    plan: str
    folder: str

    def begin(self, folder: Path, plan: str, env: Mapping[str, Any]) -> None:
        """Write what stands at the begin of a study: the plan as TOML, and the environment. Raises WriteError."""
        write_text(folder / self.plan, plan)
        write_json(folder / "env.json", env)

    def write(self, folder: Path, record: R, pictures: Mapping[str, NDArray[Any]]) -> None:
        """Write a finished cell into the folder of its study, and into the index beside that. Raises WriteError."""
        if pictures:
            write_arrays(folder / self.folder / f"{record.id}.npz", pictures)
        write_json(path := folder / self.folder / f"{record.id}.json", dump(record))
        note(folder.parent, self.name, path, record.id)

    def read(self, path: Path) -> R:
        """The record in a file.

        Raises:
            OSError: There is no such file.
            KeyError, TypeError, ValueError: It is not of this schema.
        """
        return self.load(read_json(path))

    def load(self, value: Any) -> R:
        """The record that the content of a file describes. Raises KeyError, TypeError or ValueError as `read` does."""
        if value.get("schema", SCHEMA) != SCHEMA:
            raise ValueError(f"schema {value['schema']!r} where this version of cutlayer reads {SCHEMA}")
        return load(self.kind, value)

    def finished(self, folder: Path, id: str) -> R | None:
        """The record of a finished cell; None where there is none, where it is damaged, or where the attack failed."""
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError, AttributeError):
            record = self.read(folder / self.folder / f"{id}.json")
            return None if record.failed else record
        return None

    def pictures(self, folder: Path, record: R) -> Mapping[str, NDArray[Any]]:
        """The arrays beside a record, float16; nothing where they cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return read_arrays(folder / self.folder / f"{record.id}.npz")
        return {}
