"""The cuts that a profile compares, each as a split folder that a device can run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cutlayer.models.cut import AnyCut


@dataclass(frozen=True)
class Candidate:
    """One cut, ready to run.

    Attributes:
        cut: Its name.
        folder: Its split folder.
        shape: Of the smashed data of one sample.
        nbytes: Of the smashed data of one sample, before any codec.
        params: Of the head; None where the split folder was made elsewhere and does not say.
        macs: Multiply-accumulates of the head for one sample; None likewise.
    """

    cut: str
    folder: Path
    shape: tuple[int, ...]
    nbytes: int
    params: int | None
    macs: int | None


AUTO = 10
"""Cuts that `choose` takes."""


def choose(cuts: Sequence[AnyCut], count: int | None = AUTO) -> list[AnyCut]:
    """The cuts worth a measurement, in the order of the model.

    First those that send less than any cut before them, for on a slow enough network each of these may win; then, up
    to `count`, those that leave the widest gaps in computation: they send more, but hide more of the input.

    Args:
        cuts: All there are, in the order of the model.
        count: At most so many; all that differ in what they cost when None.
    """
    # Of cuts that cost the same, the last: behind the activation, values are bounded and compress better.
    last = {(cut.nbytes, cut.macs): cut for cut in cuts}
    distinct = sorted(last.values(), key=lambda cut: (cut.macs, -cut.nbytes))
    chosen: list[AnyCut] = []
    for cut in distinct:
        if not chosen or cut.nbytes < min(one.nbytes for one in chosen):
            chosen.append(cut)
    count = len(distinct) if count is None else count
    # The steepest falls first, where there are more of them than asked for.
    while len(chosen) > count:
        falls = [chosen[i].nbytes / chosen[i + 1].nbytes for i in range(len(chosen) - 1)]
        del chosen[falls.index(min(falls))]
    rest = [cut for cut in distinct if cut not in chosen]
    while rest and len(chosen) < count:
        widest = max(rest, key=lambda cut: min(abs(cut.macs - one.macs) for one in chosen))
        rest.remove(widest)
        chosen.append(widest)
    return sorted(chosen, key=lambda cut: (cut.macs, -cut.nbytes))
