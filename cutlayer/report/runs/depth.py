"""How much a page shows of every setting, so that it stays small whatever the number of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cutlayer.report.kit.kinds import PICTURE, Kind
from cutlayer.report.kit.pictures import LOSSLESS_SIDE
from cutlayer.report.runs.groups import Group

MOST_BYTES = 10_000_000
"""Size of a page at most, which mail and chat programs take."""
PICTURES_BYTES = 8_000_000
"""Estimated size of all pictures up to which a depth is tried."""


PACKED = 0.3
"""What WebP leaves of a photograph that noise was added to."""


@dataclass(frozen=True)
class Depth:
    """What a page shows.

    Attributes:
        cases: Pictures of each kind, of those that leak most and of the median ones.
        attacks: Attacks in the pictures of each setting, the worst first.
        side: Pixels of a picture's side at most; a larger one is scaled down.
        numbers: Whether every number of every attack and every percentile is on the page.
        settings: Settings of a group that are drawn and listed at most.
    """

    cases: int = 3
    attacks: int = 64
    side: int = 160
    numbers: bool = True
    settings: int = 1_000_000


FULL = Depth()
DEPTHS = (
    FULL,
    Depth(attacks=4, side=96),
    Depth(attacks=4, side=64, numbers=False),
    Depth(cases=2, attacks=2, side=64, numbers=False),
    Depth(cases=2, attacks=1, side=48, numbers=False),
    Depth(cases=1, attacks=1, side=32, numbers=False),
    Depth(cases=0, attacks=0, side=32, numbers=False),
    Depth(cases=0, attacks=0, side=32, numbers=False, settings=400),
    Depth(cases=0, attacks=0, side=32, numbers=False, settings=100),
)
"""From all to the least."""


def affordable(groups: Sequence[Group]) -> Sequence[Depth]:
    """The depths whose pictures are about small enough, the fullest first; the last one always fits."""
    first = next((i for i, depth in enumerate(DEPTHS) if _pictures_bytes(groups, depth) <= PICTURES_BYTES), -1)
    return DEPTHS[first:]


def left_out(depth: Depth, kind: Kind) -> str:
    """What a page of this depth leaves out, in words, on inputs of a kind; empty where it is everything."""
    if depth == FULL:
        return ""
    said = [
        f"{kind.many} of the {depth.attacks} worst attack{'s'[: depth.attacks != 1]} of each setting, "
        f"{depth.cases} of each kind{f', at most {depth.side} pixels wide' if kind is PICTURE else ''}"
        if depth.cases
        else f"no {kind.many} of the single defenses"
    ]
    said += [] if depth.numbers else ["no percentiles and no table of every attack with every metric"]
    said += [f"the first {depth.settings} settings of each split"] if depth.settings < FULL.settings else []
    return (
        f"These are many runs, so that this page, which stays below {MOST_BYTES // 1_000_000} MB, has "
        f"{', and '.join(said)}. The records have everything: the command cutlayer export writes every number, and a "
        "report on a folder with fewer runs shows more."
    )


def _pictures_bytes(groups: Sequence[Group], depth: Depth) -> float:
    """The size of the pictures as Base64, if PNG saved nothing."""
    total = 0.0
    for group in groups:
        shape = group.first.result.input
        if len(shape) != 3:
            continue
        channels, height, width = shape
        pictures = next((m.run.pictures for m in group.members if m.run.pictures), None)
        rows, columns = pictures.tiles if pictures and pictures.tiles else (1, 1)
        height, width = rows * height, columns * width
        count = 2 * depth.cases
        count = min(count, len(pictures.originals) // (rows * columns)) if pictures else count
        scale = min(1.0, depth.side / max(height, width))
        # A photograph is packed with loss.
        packed = PACKED if scale * max(height, width) > LOSSLESS_SIDE else 1.0
        each = channels * height * width * scale * scale * 4 / 3 * packed
        for setting in group.settings[: depth.settings]:
            attacks = len({attack.label for attack in setting.first.privacy})
            total += each * count * (1 + min(attacks, depth.attacks))
    return total
