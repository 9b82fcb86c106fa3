"""A list of pictures that the attacker holds: which of them is behind what arrived?

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
KEPT = 6
"""Settings of the defense for which the list is kept as it arrives."""
CLEAR = 0.5
"""Share of the squared distance to the second candidate by which the first has to be nearer, to be named for sure."""
STRAY = 0.3
"""Squared distance from the named candidate that noise does not explain, in shares of that of all from their mean."""


class WatchList:
    """The candidates of one split.

    Args:
        images: ``(M, C, H, W)`` in [0, 1].
        head: From images to smashed data before a switched defense, ``(M, *smashed.shape)``.
    """

    def __init__(self, images: NDArray[np.float32], head: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        images = images[:MOST]
        self._images, self._known = bytes_of(images), head(images)
        self._expected: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._pictures: dict[int, str] = {}

    def name(
        self, smashed: NDArray[np.float32], wish: Wish, original: NDArray[np.uint8] | None
    ) -> dict[str, Any] | None:
        """Name the candidate that is most likely; None where the original is known, and is no candidate.

        Returns:
            ``index`` of the candidate, ``of`` how many, ``sure`` whether no other comes near, its ``picture``, and the
            ``rank`` of the true one where the original is known, or None.
        """
        rank: int | None = None
        difference = self._behind(wish) - smashed.reshape(-1)
        distances = np.einsum("md,md->m", difference, difference)
        if not np.isfinite(distances).all():
            return None
        first, second = (int(place) for place in np.argpartition(distances, 1)[:2])
        if original is not None:
            (true,) = np.nonzero((self._images == original).all((1, 2, 3)))
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
        return {
            "index": first, "of": len(distances), "rank": rank, "sure": bool(clear and near),
            "picture": self._picture(first),
        }  # fmt: skip

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

    def _picture(self, index: int) -> str:
        if index not in self._pictures:
            self._pictures[index] = data_url(self._images[index])
        return self._pictures[index]
