"""The content of `attacks.json`: what attacks made of a recorded tap, in the rows of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cutlayer.records.dataclass_json import dump
from cutlayer.records.files import delete, write_arrays, write_json
from cutlayer.records.reconstructions import REBUILT
from cutlayer.records.run import AttackRecord, FailedAttack, IdentificationRecord

ATTACKS_FILE, PAGE = "attacks.json", "page.html"
TAP_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class TapRecord:
    """What attacks made of a recorded tap.

    Attributes:
        model: Model and cut of the split, as on the wire.
        version: The hash in its `split.json`.
        defense: Title of the split's defense with its options.
        codec: Name of the codec on the wire.
        data: Name of the data set whose auxiliary part the attackers hold.
        access: Name of the access that they were granted, as in `cutlayer.attacks.view.Access`.
        vantage: Where they sit, a key of `cutlayer.attacks.view.VANTAGES`.
        input: Shape of one input.
        n: Number of inputs that were attacked.
        n_releases: Releases of each of them that the tap holds.
        scored: Whether the truth was at hand; if not, there are reconstructions and no figures.
        attacks: Every attack that was scored.
        failed: The attacks that failed, none of which has a figure.
        notes: What a reader of the results should know.
        identification: How often each of them, and a watch list, picks an input from those that were attacked.
        modality: The kind of the inputs, see `cutlayer.data.modality`.
    """

    schema: int
    model: str
    version: str
    defense: str
    codec: str
    data: str
    seed: int
    access: str
    vantage: str
    input: tuple[int, ...]
    n: int
    n_releases: int
    scored: bool
    attacks: tuple[AttackRecord, ...]
    failed: tuple[FailedAttack, ...]
    notes: tuple[str, ...] = ()
    identification: tuple[IdentificationRecord, ...] = ()
    modality: str = "image"


def finish(
    out: Path,
    record: TapRecord,
    originals: NDArray[Any] | None,
    rebuilt: Mapping[str, NDArray[Any]],
    scores: Mapping[str, NDArray[Any]],
) -> None:
    """Write the arrays, and last of all the record.

    Args:
        out: The folder.
        record: The record.
        originals: The true inputs; None where they are unknown.
        rebuilt: The reconstructions by the label of the attack.
        scores: The score of each reconstruction by ``attack/metric``; a file of an earlier attack is deleted if empty.
    """
    truly = {} if originals is None else {"originals": originals}
    write_arrays(out / "reconstructions.npz", truly | {f"{REBUILT}{name}": images for name, images in rebuilt.items()})
    if scores:
        write_arrays(out / "scores.npz", scores)
    else:
        delete(out / "scores.npz")
    write_json(out / ATTACKS_FILE, dump(record))
