"""Which cells of a study are left to run, and which were finished before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol, TypeVar


class Cell(Protocol):
    """One attack on one victim."""

    @property
    def id(self) -> str:
        """Name of its record."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the data, the model and all draws."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over the training samples after which the victim is attacked."""
        ...

    @property
    def defense(self) -> Any:
        """The victim's defense."""
        ...


C = TypeVar("C", bound=Cell)
R = TypeVar("R")


def left_by_victim(cells: Sequence[C], finished: Callable[[str], R | None], done: dict[str, R]) -> Iterator[list[C]]:
    """The cells that are left, those of one victim together, so that each victim is trained once and only if needed.

    Args:
        cells: All cells, those of one victim one after the other.
        finished: Gives the record of a finished cell by its id, or None.
        done: Takes the records of the finished cells of a victim before those that are left are given.
    """
    for _, group in groupby(cells, key=lambda cell: (cell.seed, cell.epochs, cell.defense)):
        left = []
        for cell in group:
            record = finished(cell.id)
            if record is None:
                left.append(cell)
            else:
                done[cell.id] = record
        if left:
            yield left
