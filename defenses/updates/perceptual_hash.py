"""Perceptual hashing: parts of each image are replaced by a pattern that keeps a few bits of what was there.

P. Prakash et al., "Privacy Preserving Facial Recognition Against Model Inversion Attacks", 2020: parts of the training
images are hashed, so that an inversion returns hashed parts. The bits of a block are the signs of its lowest 4x4 cosine
coefficients around gray, as perceptual hashes take them; the block becomes the sum of these waves, all equally strong.

Threat model: a curious server rebuilds the samples of an update. It rebuilds the hashed images; a study compares them
with the client's own, and parts that were not hashed are given away as they are.

Differs from the paper, which is known from a survey: blocks, the bits of each, and which blocks are hashed (drawn anew
for each image) are this project's; a face study would hash the parts that tell who it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.defenses.updates.augmentation import check_images
from cutlayer.defenses.updates.base import Local, UpdateDefense
from cutlayer.options import Share, Within

if TYPE_CHECKING:
    from torch import Tensor

_LOWEST = 4
_GRAY = 0.5


@dataclass(kw_only=True)
class PerceptualHash(UpdateDefense):
    """Replace blocks of each image by patterns of a few bits of their content.

    Args:
        part: Share of the blocks that are replaced.
        block: Side of a block, in pixels; those at the lower and right edge may be smaller.
    """

    knob = "part"
    plain_words = "replaces parts of each image by patterns that keep a few bits of them"

    part: Share = 0.5
    block: Annotated[int, Within(2, 4096)] = 8

    def augment(self, inputs: Tensor, labels: Tensor, rng: np.random.Generator, local: Local) -> tuple[Tensor, Tensor]:
        """See the base.

        Raises:
            ConfigError: The inputs are no images of one or three channels.
        """
        if not self.on or not len(inputs):
            return inputs, labels
        check_images(self, inputs)
        images = hashed_blocks(inputs.cpu().numpy(), self.part, self.block, rng)
        return torch.from_numpy(images).to(inputs.device), labels


def hashed_blocks(
    images: NDArray[np.float32], part: float, block: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The images ``(N, C, H, W)`` with a share of the blocks of each replaced, drawn anew for each image."""
    images = images.copy()
    corners = [(y, x) for y in range(0, images.shape[2], block) for x in range(0, images.shape[3], block)]
    for image in images:
        for chosen in rng.choice(len(corners), max(1, round(part * len(corners))), replace=False):
            y, x = corners[chosen]
            for channel in image:
                channel[y : y + block, x : x + block] = hashed(channel[y : y + block, x : x + block])
    return images


def hashed(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pattern of a block ``(H, W)`` in [0, 1]: the waves of its lowest coefficients, with their signs alone."""
    from scipy.fft import dctn, idctn

    bits = np.zeros(block.shape)
    bits[:_LOWEST, :_LOWEST] = np.sign(dctn(block - _GRAY, norm="ortho")[:_LOWEST, :_LOWEST])
    pattern: NDArray[np.float32] = np.clip(_GRAY + idctn(bits, norm="ortho"), 0, 1).astype(np.float32)
    return pattern
