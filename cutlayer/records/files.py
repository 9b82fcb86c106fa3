"""Small files, each written by an atomic rename."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_json(path: Path, value: Any) -> None:
    """Write by an atomic rename: a reader sees the old file, the new one, or none."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text())


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Like `write_json`, for arrays in one `.npz`."""
    temporary = path.with_name(path.name + ".part.npz")
    np.savez_compressed(temporary, allow_pickle=False, **arrays)
    temporary.replace(path)
