"""Releases that the attackers of a run share, for a defense that takes long over each."""

from collections import Counter, defaultdict

import torch
from torch import Tensor

from attacks.view import Query


class Kept:
    """An oracle's answers, kept: the n-th release of an image is the same for every attack that asks for n of it.

    Each attack still sees as many independent releases of an image as it asks for. It takes a defense that changes
    each release alone, whatever else is in the batch; all do.

    Args:
        query: The oracle.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._releases: dict[bytes, list[Tensor]] = defaultdict(list)

    def reader(self) -> Query:
        """An oracle for one attack, which has asked for nothing yet."""
        asked: Counter[bytes] = Counter()

        def query(images: Tensor) -> Tensor:
            places = []
            for image in images.cpu().numpy():
                key = image.tobytes()
                places.append((key, asked[key]))
                asked[key] += 1
            new = [i for i, (key, nth) in enumerate(places) if nth >= len(self._releases[key])]
            if new:
                for i, release in zip(new, self._query(images[new]), strict=True):
                    self._releases[places[i][0]].append(release)
            return torch.stack([self._releases[key][nth] for key, nth in places])

        return query
