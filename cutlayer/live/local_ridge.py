"""Ridge regression that looks at a small neighbourhood: one linear map for all places of a picture.

    block(x, p) = W [a(q) for q around p] + b       (block: the pixels behind place p of the smashed data)

The head of a convolutional network treats all places alike, and so does its best linear inversion, apart from the
border. There are few weights, so that a hundred pictures fit them in a second, also
behind a defense that was switched a moment ago. Threat model: the attacker queries head and defense with its own
images, as in `cutlayer.attacks.features.ridge`, which has a weight for every pair of a value and a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, unfold

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.ridge import solve
from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.options import Count

HELD_OUT = 0.15


def fits(input: tuple[int, ...], smashed: tuple[int, ...]) -> bool:
    """Whether every place of the smashed data has a block of pixels of its own."""
    return (
        len(input) == len(smashed) == 3
        and input[1] % smashed[1] == 0
        and input[2] % smashed[2] == 0
        and input[1] // smashed[1] == input[2] // smashed[2]
    )


@dataclass(kw_only=True)
class LocalRidge(Attack):
    """Invert by the linear map of a neighbourhood that fits the attacker's own images best.

    Args:
        side: Places that are looked at in each direction, an odd number.
        n_auxiliary: Images used.
        places: Places that are used at most, drawn from all images.
    """

    plain_words = "a linear formula for every small part of the picture"
    needs = Access.BLACK_BOX

    side: Count = 3
    n_auxiliary: Count = 160
    places: Count = 24_000

    def fit(self, view: View) -> None:
        """Query with the auxiliary images, choose the penalty, solve."""
        if not fits(view.input.shape, view.smashed.shape):
            raise ConfigError(f"No block of {view.input} belongs to each place of {view.smashed}.")
        images, n_fit = with_held_out(view, min(self.n_auxiliary, len(view.auxiliary)), HELD_OUT)
        smashed = release(view.query, images)
        self._block = view.input.shape[1] // view.smashed.shape[1]
        around = unfold(smashed, self.side, padding=self.side // 2)  # (N, C k k, places)
        blocks = pixel_unshuffle(images, self._block).flatten(2)
        each = max(1, min(around.shape[2], self.places // len(images)))
        generator = torch.Generator().manual_seed(view.seed)
        rows = torch.stack([torch.randperm(around.shape[2], generator=generator)[:each] for _ in range(len(images))])
        a = around.gather(2, rows[:, None].expand(-1, around.shape[1], -1)).transpose(1, 2).flatten(0, 1)
        x = blocks.gather(2, rows[:, None].expand(-1, blocks.shape[1], -1)).transpose(1, 2).flatten(0, 1)
        center, mean = a.mean(0), x.mean(0)
        spread = (a - center).std(0)
        scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)
        weights, _ = solve((a - center) * scale, x - mean, n_fit * each)
        self._weights = scale[:, None] * weights
        self._offset = mean - center @ self._weights

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        around = unfold(smashed, self.side, padding=self.side // 2).transpose(1, 2)
        blocks = (around @ self._weights + self._offset).transpose(1, 2)
        grid = blocks.unflatten(2, smashed.shape[2:])
        return pixel_shuffle(grid, self._block).clamp(0, 1)
