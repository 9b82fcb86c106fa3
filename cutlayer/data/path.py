"""Data of one's own by its path: a folder of images, a file of arrays, of a table or of sentences."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Protocol

from cutlayer.bounded import opened, reason
from cutlayer.data.arrays import open_arrays
from cutlayer.data.downloads import open_download
from cutlayer.data.folder import open_folder
from cutlayer.data.listing import visible
from cutlayer.data.missing import GRAPH_FILES, Graphs
from cutlayer.data.rows import open_table
from cutlayer.data.sentences import is_sentences, open_sentences
from cutlayer.data.splits import Splits
from cutlayer.data.text import Tokenizer
from cutlayer.errors import DataError

ARRAYS = (".npz", ".npy")
TABLES, TEXTS = (".csv",), (".txt",)
ACCEPTED = "a folder of images, an .npz or .npy file, a table as .csv, or sentences as .txt"


class Read(Protocol):
    """What reads a data set; see `open_path`."""

    def __call__(
        self,
        root: Path,
        seed: int,
        shape: tuple[int, ...] | None = None,
        otherwise: tuple[int, ...] | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> Splits:
        """The four parts; `root` is not used."""


def reader(name: str) -> Read:
    """The function that reads what lies at a path, of the form of every data set."""

    def read(
        root: Path,
        seed: int,
        shape: tuple[int, ...] | None = None,
        otherwise: tuple[int, ...] | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> Splits:
        return open_path(Path(name).expanduser(), name, seed, shape, otherwise, tokenizer)

    return read


def open_path(
    path: Path,
    name: str,
    seed: int,
    shape: tuple[int, ...] | None = None,
    otherwise: tuple[int, ...] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Splits:
    """The four parts of what lies at a path; images are read when they are asked for.

    Args:
        path: A folder, or a file, see `ACCEPTED`.
        name: Name of the data set.
        seed: Decides which image goes to which part. The same seed gives the same parts everywhere.
        shape: ``(C, H, W)`` of the inputs: images of another size are scaled until the shorter side fits, and cropped
            in the center. None for the size of arrays as they are. Of sentences ``(T,)``, their greatest length.
        otherwise: The shape of image files, or the length of sentences, where none is stated.
        tokenizer: What makes tokens of sentences; their own words if None.

    Raises:
        ConfigError: Image files need Pillow, which is not installed.
        DataError: There is nothing, or nothing that can be read as images.
    """
    if not path.exists():
        raise DataError(f"There is no file or folder {path}; name {ACCEPTED}.")
    if path.is_file() and path.suffix.lower() in GRAPH_FILES:
        raise DataError(f"{path} is a file of a graph. {Graphs.explanation}")
    if path.is_file() and (path.suffix.lower() in TEXTS or (path.suffix.lower() in TABLES and is_sentences(path))):
        if shape and len(shape) != 1:
            raise DataError(f"{path} has sentences; {'x'.join(map(str, shape))} is no greatest length of one.")
        length = shape or (otherwise if otherwise and len(otherwise) == 1 else None)
        return open_sentences(path, name, seed, length[0] if length else None, tokenizer)
    # Others have no shape of one axis.
    otherwise = otherwise if otherwise and len(otherwise) == 3 else None
    if path.is_file() and path.suffix.lower() in TABLES:
        return open_table(path, name, seed)
    if path.is_file() and path.suffix.lower() not in ARRAYS:
        raise DataError(f"{path} is a file; name {ACCEPTED}.")
    if path.is_file() or (path / "x.npy").is_file():
        return open_arrays(path, name, seed, shape)
    return open_download(path, name, seed) or open_folder(path, name, seed, shape, otherwise)


def identity(path: Path) -> str:
    """A hash over the names, sizes and contents of all files at a path, in hex: the same data, the same hash.

    The files are read once in each process, unless one of them has changed since.

    Raises:
        DataError: There is nothing.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"There is no file or folder {path}; name {ACCEPTED}.")
    files = [path] if path.is_file() else visible(path)
    listing = [(file, file.stat()) for file in files]
    return _hash(path, tuple((str(file), stat.st_size, stat.st_mtime_ns) for file, stat in listing))


@cache
def _hash(path: Path, listing: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.sha256()
    for name, size, _ in listing:
        relative = os.path.relpath(name, path) if path.is_dir() else path.suffix
        try:
            with opened(Path(name)) as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{name} cannot be read: {reason(error)}.") from None
        total.update(f"{relative}\0{size}\0{content}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()
