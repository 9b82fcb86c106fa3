"""Red flags: signs that the evaluation itself is suspect, after AutoAttack's `flags_doc.md`.

They judge the attacks, not the defense: a leakage that is too low is first a suspect.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.base import Access
from cutlayer.data.splits import Splits

INVERTIBLE_GAIN = 0.5
"""An undefended shallow cut that leaks less than half of the mean image's error was attacked badly, or is deep."""

FLOORS = ("mean-image",)


def flags(
    rows: Sequence[dict[str, Any]], data: Splits, n_private: int, random: bool, undefended: bool
) -> list[dict[str, str]]:
    """Every flag that the rows of one experiment raise, as ``{"flag", "text"}``."""
    found = [
        *_order(rows),
        *_useless(rows),
        *_overlap(data, n_private),
    ]
    if undefended and rows and max(_gain(row) for row in rows) < INVERTIBLE_GAIN:
        found.append(
            (
                "baseline-not-invertible",
                f"No attack got past a leakage gain of {INVERTIBLE_GAIN} on the undefended model.",
            )
        )
    if random and rows and all(row["n_releases"] == 1 for row in rows):
        found.append(("no-averaging", "The defense is random, and no attack averaged several releases of one input."))
    return [{"flag": name, "text": text} for name, text in found]


def _gain(row: dict[str, Any]) -> float:
    return float(row["leakage_gain"]["value"])


def _order(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Weaker access beats stronger by more than both intervals allow: the stronger attack is under-trained."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["n_releases"] == 1 and _gain(row) > _gain(best.get(row["access"], row)) - 1e-12:
            best[row["access"]] = row
    for weak, strong in [(w, s) for w in Access for s in Access if w < s]:
        a, b = best.get(weak.name), best.get(strong.name)
        if a and b and a["leakage_gain"]["low"] > b["leakage_gain"]["high"]:
            text = (
                f"{a['label']} ({weak.name.lower()}) beats {b['label']} ({strong.name.lower()}): the attack with the "
                "stronger access is not at its best."
            )
            yield "weaker-beats-stronger", text


def _useless(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for row in rows:
        if row["attack"] not in FLOORS and row["leakage_gain"]["high"] <= 0:
            yield "no-better-than-mean", f"{row['label']} ({row['deployment']}) is no better than the mean image."


def _overlap(data: Splits, n_private: int) -> Iterator[tuple[str, str]]:
    for name in ("auxiliary", "train"):
        shared = len(_hashes(data.private.take(n_private).images) & _hashes(getattr(data, name).images))
        if shared:
            yield f"{name}-overlap", f"{shared} private images are in the {name} part too, pixel for pixel."


def _hashes(images: Iterable[NDArray[np.float32]]) -> set[bytes]:
    return {hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images}
