"""A list of inputs that the attacker holds: which of them is behind what arrived?

The candidates go through the attacker's own copy of the head, and the nearest of them is named. That needs no
reconstruction, and a defense that hides the picture from the eye may leave it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.edge.wishes import Wish
from cutlayer.live.pictures import bytes_of, data_url
from cutlayer.live.told_decoder import described

MOST = 200
"""Candidates at most."""
MOST_BYTES = 64 << 20
"""Bytes of what arrives for all candidates, at most."""
KEPT = 6
"""Settings of the defense for which the list is kept as it arrives."""
CLEAR = 0.5
"""Share of the squared distance to the second candidate by which the first has to be nearer, to be named for sure."""
STRAY = 0.3
"""Squared distance from the named candidate that noise does not explain, in shares of that of all from their mean."""


class WatchList:
    """The candidates of one split.

    Args:
        inputs: ``(M, *input.shape)``; the first `MOST` of them are candidates, or fewer where they take much memory.
        head: From inputs to smashed data before a switched defense, ``(M, *smashed.shape)``.
        kept: Inputs in the form in which originals are shared.
        shown: What is told of a candidate in that form.
        only_sure: Whether no candidate is named where the input may be none of the list, unless it is known to be one.
    """

    def __init__(
        self,
        inputs: NDArray[Any],
        head: Callable[[NDArray[Any]], NDArray[np.float32]],
        kept: Callable[[NDArray[Any]], NDArray[Any]] = bytes_of,
        shown: Callable[[NDArray[Any]], dict[str, Any]] = lambda image: {"picture": data_url(image)},
        *,
        only_sure: bool = False,
    ) -> None:
        each = head(inputs[:1]).nbytes
        inputs = inputs[: max(2, min(MOST, MOST_BYTES // each))]
        self._kept, self._known, self._show, self._only_sure = kept(inputs), head(inputs), shown, only_sure
        self._expected: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._told: dict[int, dict[str, Any]] = {}

    def name(self, smashed: NDArray[np.float32], wish: Wish, original: NDArray[Any] | None) -> dict[str, Any] | None:
        """Name the candidate that is most likely; None where the original is known, and is no candidate.

        Returns:
            ``index`` of the candidate, ``of`` how many, ``sure`` whether no other comes near, what is shown of it, and
            the ``rank`` of the true one where the original is known, or None.
        """
        rank: int | None = None
        difference = self._behind(wish) - smashed.reshape(-1)
        distances = np.einsum("md,md->m", difference, difference)
        if not np.isfinite(distances).all():
            return None
        first, second = (int(place) for place in np.argpartition(distances, 1)[:2])
        if original is not None:
            (true,) = np.nonzero((self._kept == original).reshape(len(self._kept), -1).all(1))
            if not len(true):
                return None
            rank = 1 + int((distances < distances[true].min()).sum())
        apart = float(np.square(difference[first] - difference[second]).sum())
        expected = self._behind(wish)
        spread = float(np.square(expected - expected.mean(0)).sum(1).mean())
        # What the draws of the defense add to every squared distance, and how much that varies from frame to frame.
        each = described(wish)[0]
        if wish.defense == "dropout":
            each = wish.value * (1 - wish.value) * float(np.square(self._known).mean())
        noise, doubt = each * smashed.size, 3 * each * float(np.sqrt(2 * smashed.size))
        clear = distances[second] - distances[first] > CLEAR * apart and apart > (8**2) * each
        near = distances[first] < noise + doubt + STRAY * spread and doubt < STRAY * spread
        sure = bool(clear and near)
        if self._only_sure and rank is None and not sure:
            return None
        return {"index": first, "of": len(distances), "rank": rank, "sure": sure, **self._shown(first)}

    def _behind(self, wish: Wish) -> NDArray[np.float32]:
        """What arrives on average for each candidate, ``(M, D)``."""
        if wish.title not in self._expected:
            known = self._known
            if wish.defense == "dropout":
                known = known * np.float32(1 - wish.value)
            elif wish.strength and not described(wish)[0]:
                known = wish.make().protect(known, np.random.default_rng(0))
            self._expected[wish.title] = known.reshape(len(known), -1)
            while len(self._expected) > KEPT:
                self._expected.popitem(last=False)
        self._expected.move_to_end(wish.title)
        return self._expected[wish.title]

    def _shown(self, index: int) -> dict[str, Any]:
        if index not in self._told:
            self._told[index] = self._show(self._kept[index])
        return self._told[index]
