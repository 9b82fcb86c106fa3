"""Writing a split folder so that it appears only when it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cutlayer.errors import SplitError, WriteError
from cutlayer.machine.files import check_writable, leftovers, part_of, writing
from cutlayer.machine.lock import only_one
from cutlayer.models.manifest import MANIFEST
from cutlayer.own import recordable


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which becomes `folder` when the block ends without an error.

    A split folder of that name is replaced.

    Raises:
        SplitError: The folder exists already and holds something else.
        WriteError: It cannot be made, or its disk is full.
        BusyError: Another process writes it.
    """
    check_free(folder)
    # A folder such as "." has no name to build the other names on.
    folder = folder.resolve()
    part = part_of(folder)
    with only_one(folder), writing(folder):
        for killed in leftovers(folder):
            shutil.rmtree(killed, ignore_errors=True)
        part.mkdir()
        try:
            yield part
            # The old folder stays whole until the last moment.
            old = part_of(folder).with_suffix(".old")
            if folder.exists():
                folder.rename(old)
            part.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        except WriteError as unwritten:
            # Of a file in `part`, whose name says nothing to anybody.
            if isinstance(unwritten.__cause__, OSError):
                raise WriteError.of(folder, unwritten.__cause__) from None
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


def check_free(folder: Path, *, replace: bool = True) -> None:
    """Refuse to replace anything but a split folder, or that as well.

    Raises:
        ConfigError: Its name is no UTF-8.
        SplitError: The folder exists and holds something else; or it is a split folder, and is not to be replaced.
        WriteError: The user may not write there.
    """
    recordable(str(folder))
    check_writable(folder, "new folder")
    if (folder / MANIFEST).exists() and not replace:
        raise SplitError(f"{folder} is a split folder already; replace it with --force, or name another folder.")
    if folder.exists() and not (folder / MANIFEST).exists() and (folder.is_file() or any(folder.iterdir())):
        raise SplitError(f"{folder} exists and is no split folder; name another one.")
