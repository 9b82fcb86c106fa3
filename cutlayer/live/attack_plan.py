"""What the attackers' process is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """What the attackers attack, and with what.

    Attributes:
        folder: The split folder.
        data: Name of the data set, whose auxiliary part is the attackers' own.
        data_root: Folder of the data sets that are not embedded.
        names: The attackers.
        cache: Folder of what they have learned.
        seed: Seed of the data set's parts and of their own choices.
    """

    folder: Path
    data: str
    data_root: Path | None
    names: tuple[str, ...]
    cache: Path
    seed: int = 0
