"""Random changes of an image that leave its class as it is, through which gradients flow.

An image that a model takes for the class wherever it lies is less of an accident of the model than one that it takes
for it at a single place.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cutlayer.defenses.answers.random_erasing import erased


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How far an image is changed; each image by draws of its own.

    Attributes:
        shift: Greatest move in each direction, as a share of the side, in whole pixels.
        crop: Least side of a crop that is stretched to the whole image, as a share of the side; 1 for none.
        rotate: Greatest rotation in degrees to each side.
        flip: Whether every other image is mirrored left to right.
        erase: Greatest share of the area of a rectangle of the mean color, the least of which is a quarter; 0 for none.
    """

    shift: float = 0.0
    crop: float = 1.0
    rotate: float = 0.0
    flip: bool = False
    erase: float = 0.0

    @property
    def on(self) -> bool:
        """Whether it changes anything."""
        return self.moves or self.erase > 0

    @property
    def moves(self) -> bool:
        """Whether it changes where things lie in an image."""
        return self.shift > 0 or self.crop < 1 or self.rotate > 0 or self.flip

    def __call__(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Changed images ``(N, C, H, W)``; what comes in at the rim repeats the rim.

        Args:
            images: ``(N, C, H, W)``.
            random: Source on the CPU.
        """
        changed = self._moved(images, random) if self.moves else images
        if not self.erase:
            return changed
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=random)))
        return erased(changed, images.detach().mean((0, 2, 3))[:, None, None], self.erase, rng)

    def _moved(self, images: Tensor, random: torch.Generator) -> Tensor:
        n, sides = len(images), torch.tensor(images.shape[:1:-1])
        draws = torch.rand(7, n, generator=random)
        scale = 1 - (1 - self.crop) * draws[0]
        angle = math.radians(self.rotate) * (2 * draws[1] - 1)
        mirror = 1 - 2 * (draws[2] < 0.5 * self.flip).float()
        reach = (self.shift * sides).round()[:, None]
        moves = ((2 * reach + 1) * draws[3:5]).floor().clamp(max=2 * reach) - reach  # whole pixels along x, y
        corner = (1 - scale) * (2 * draws[5:7] - 1)
        tall = images.shape[2] / images.shape[3]
        cos, sin = scale * angle.cos(), scale * angle.sin()
        rows = [mirror * cos, -sin * tall, corner[0] + 2 * moves[0] / sides[0]]
        rows += [mirror * sin / tall, cos, corner[1] + 2 * moves[1] / sides[1]]
        theta = torch.stack(rows, 1).view(n, 2, 3).to(images)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
