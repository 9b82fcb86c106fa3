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
        cut: Name of the cut.
        folder: Its split folder.
        shape: Shape of the smashed data of one sample.
        nbytes: Size of the smashed data of one sample, before any codec.
        params: Parameters of the head; None where the split folder was written elsewhere and does not say.
        macs: Multiply-accumulates of the head for one sample; None in the same case.
    """

    cut: str
    folder: Path
    shape: tuple[int, ...]
    nbytes: int
    params: int | None
    macs: int | None


AUTO = 10
"""Number of cuts that `choose_cuts` takes."""


def choose_cuts(cuts: Sequence[AnyCut], count: int | None = AUTO) -> list[AnyCut]:
    """The cuts worth a measurement, in the order of the model.

    The first are those that send less than any cut before them, for each of these may win on a slow enough network;
    then come, up to `count`, those that leave the widest gaps in computation: they send more, but hide more of the
    input.

    Args:
        cuts: All cuts, in the order of the model.
        count: Number of cuts at most; all cuts that differ in what they cost when None.
    """
    # Of cuts that cost the same, the last: behind the activation, values are bounded and compress better.
    last = {(cut.nbytes, cut.macs): cut for cut in cuts}
    distinct = sorted(last.values(), key=lambda cut: (cut.macs, -cut.nbytes))
    chosen: list[AnyCut] = []
    for cut in distinct:
        if not chosen or cut.nbytes < min(other.nbytes for other in chosen):
            chosen.append(cut)
    count = len(distinct) if count is None else count
    # When there are too many, those stay whose fall in size is the steepest.
    while len(chosen) > count:
        falls = [chosen[i].nbytes / chosen[i + 1].nbytes for i in range(len(chosen) - 1)]
        del chosen[falls.index(min(falls))]
    rest = [cut for cut in distinct if cut not in chosen]
    while rest and len(chosen) < count:
        widest = max(rest, key=lambda cut: min(abs(cut.macs - other.macs) for other in chosen))
        rest.remove(widest)
        chosen.append(widest)
    return sorted(chosen, key=lambda cut: (cut.macs, -cut.nbytes))
