"""The files of a folder of data, without those that other systems leave there."""

import os
from pathlib import Path

FOREIGN = {"__MACOSX", "Thumbs.db", "ehthumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "System Volume Information"}
"""What Windows, macOS and network storages put beside files; so is every name that begins with a dot."""


def visible(folder: Path) -> list[Path]:
    """Every file below a folder, in an order that is the same everywhere; links to folders are followed once."""
    found: list[Path] = []
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _foreign(name))
        found += [Path(place, name) for name in names if not _foreign(name)]
    return sorted(found)


def _foreign(name: str) -> bool:
    return name.startswith(".") or name in FOREIGN
