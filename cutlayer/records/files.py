"""Small files, each written by an atomic rename."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_text(path: Path, text: str) -> None:
    """Write by an atomic rename: a reader sees the old file, the new one, or none."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Like `write_text`, for JSON of RFC 8259: NaN and Infinity are no numbers of it, and raise ValueError."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def delete(path: Path) -> None:
    """Delete a file, a link or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Like `write_text`, for arrays in one `.npz`."""
    temporary = path.with_name(path.name + ".part.npz")
    np.savez_compressed(temporary, allow_pickle=False, **arrays)
    temporary.replace(path)
