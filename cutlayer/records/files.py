"""Small files, each of which appears when it is whole; see `cutlayer.machine.files`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.machine.files import new_file


def write_text(path: Path, text: str) -> None:
    """Write a text: a reader sees the old file, the new one, or none.

    Raises:
        WriteError: It cannot be written, and the old file stays.
    """
    with new_file(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Like `write_text`, for JSON of RFC 8259: NaN and Infinity are no numbers of it, and raise ValueError."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def delete(path: Path) -> None:
    """Delete a file, a link or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Like `write_text`, for one array as `.npy`."""
    with new_file(path) as file:
        np.save(file, array, allow_pickle=False)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Like `write_text`, for arrays in one `.npz`."""
    with new_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
