"""Image augmentation: each image is changed by random operations before the gradient is computed.

Random augmentation as a defense of updates is in the surveys of gradient inversion beside ATS; the operations are those
of E. D. Cubuk, B. Zoph, J. Shlens, Q. V. Le, "RandAugment", NeurIPS 2020, in torchvision's form, and its common
settings: two operations of magnitude 9 of 30.

Threat model: a curious server rebuilds the samples of an update. It rebuilds the *changed* images, as exactly as it
would rebuild the others: an attacker who looks at a picture that was turned and brightened has seen it. A study
therefore compares with the changed images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch

from cutlayer.defenses.shared.draws import seeded
from cutlayer.defenses.updates.base import Local, UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.options import Within

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Augmentation(UpdateDefense):
    """Change each image by random operations, such as turns, shifts and contrasts.

    Args:
        operations: Number of operations on each image.
        magnitude: Their strength, from 0 to 30.
    """

    knob = "operations"
    plain_words = "changes each image at random, as by turns, shifts and contrasts, before training on it"

    operations: Annotated[int, Within(0, 16)] = 2
    magnitude: Annotated[int, Within(0, 30)] = 9

    def augment(self, inputs: Tensor, labels: Tensor, rng: np.random.Generator, local: Local) -> tuple[Tensor, Tensor]:
        """See the base.

        Raises:
            ConfigError: The inputs are no images of one or three channels.
        """
        if not self.on or not len(inputs):
            return inputs, labels
        check_images(self, inputs)
        from cutlayer.nets._torchvision import transforms

        change = transforms().RandAugment(self.operations, self.magnitude)
        with seeded(rng, inputs.device):
            return torch.stack([change(image) for image in inputs]), labels


def check_images(defense: UpdateDefense, inputs: Tensor) -> None:
    """Refuse inputs that are no images of one or three channels.

    Raises:
        ConfigError: They are none.
    """
    if inputs.dim() != 4 or inputs.shape[1] not in (1, 3):
        shape = "x".join(map(str, inputs.shape[1:]))
        raise ConfigError(f"{defense!r} changes images of 1 or 3 channels, (C, H, W); the inputs are {shape}.")
