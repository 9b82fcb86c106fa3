"""Images that the attacker holds and that the victims hold too, pixel for pixel: what is known cannot leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.modality import TOKENS
from cutlayer.data.splits import Splits
from cutlayer.errors import DataError


def shared(data: Splits, n_private: int | None = None) -> NDArray[np.bool_]:
    """``(N,)``, true for the auxiliary samples that equal one of the first `n_private` private ones (None: of all)."""
    private, auxiliary = data.private.take(n_private).inputs, data.auxiliary.inputs
    if private.shape[1:] != auxiliary.shape[1:]:
        return np.zeros(len(auxiliary), np.bool_)
    sums, known = (inputs.reshape(len(inputs), -1).sum(axis=1, dtype=np.float64) for inputs in (auxiliary, private))
    mask: NDArray[np.bool_] = np.isin(sums, known)
    for position in np.flatnonzero(mask):
        alike = private[known == sums[position]]
        mask[position] = bool((alike == auxiliary[position]).reshape(len(alike), -1).all(axis=1).any())
    return mask


def check_apart(data: Splits, n_private: int | None = None) -> None:
    """Refuse an attacker who holds the victims' inputs already.

    Args:
        data: The data, its auxiliary part as far as the attacker gets it.
        n_private: Number of private inputs that are attacked; all if None.

    Raises:
        DataError: The two parts share inputs; the message has the count.
    """
    count = int(shared(data, n_private).sum())
    if count:
        raise DataError(
            f"{count:,} of {len(data.auxiliary):,} auxiliary inputs of {data.name} are private inputs too, "
            f"{_exactly(data)}, so that an attacker would be credited with what it knew before; remove the copies "
            "from the attacker's data, or take another seed."
        )


def _exactly(data: Splits) -> str:
    """How two inputs are equal, in words."""
    return {"image": "pixel for pixel", TOKENS: "token for token"}.get(data.modality.name, "number for number")


def apart(data: Splits) -> Splits:
    """The data without the auxiliary samples that equal a private one; their number is said in `Splits.notes`."""
    mask = shared(data)
    if not mask.any():
        return data
    many, exactly = data.modality.one[1], _exactly(data)
    note = f"{int(mask.sum()):,} auxiliary {many} equal a private one, {exactly}; the attacker does not get them."
    return replace(data, auxiliary=data.auxiliary.at(np.flatnonzero(~mask)), notes=(*data.notes, note))
