"""Random erasing: a rectangle of every training image is replaced by the mean color.

V.-H. Tran, N.-B. Nguyen, S. T. Mai, H. Vandierendonck, I. Assent, A. Kot, N.-M. Cheung, "Defending against Model
Inversion Attacks via Random Erasing" (MIDRE), 2024, https://arxiv.org/abs/2409.01062: the network never sees a whole
image of a class at once, while what an attack makes is whole. In the authors' configurations
(github.com/ngoc-nguyen-0/MIDRE_TMLR @eb1aba1) every image is erased, 10 to 40 % of its area, for some networks up to
80 %. The rectangle is drawn as in Z. Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.

Threat model: an attacker with the weights or with scores. The adaptive attack erases as well: ``margin`` with ``erase``
set to `area` averages its loss over pictures with a rectangle of its own, which is what the network was trained on.

Differs from the paper: none of the parts. The sides of a rectangle have a ratio of 1/2 to 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.options import Share

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Dataset


@dataclass(kw_only=True)
class RandomErasing(AnswerDefense):
    """Replace a rectangle of every training image by the mean color.

    Args:
        area: Greatest share of the area; the least is a quarter of it. 0 for none.
    """

    knob = "area"
    plain_words = "trains on images of which a part is erased, another one each time"
    adaptive = ("margin.erase",)

    area: Share = 0.4  # the code's: 10 to 40 %

    def train(
        self, model: nn.Module, data: Dataset, public: Dataset, *, epochs: int, seed: int, lr: float = 2e-3
    ) -> None:
        """See `AnswerDefense`."""
        if not self.on:
            return super().train(model, data, public, epochs=epochs, seed=seed, lr=lr)
        import torch

        from cutlayer.training import loss_of, optimize

        color = torch.from_numpy(data.inputs.mean((0, 2, 3))[:, None, None])

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            return loss_of(model, erased(images, color.to(images.device), self.area, rng), labels)

        optimize([model], data, loss, epochs=epochs, seed=seed, lr=lr)


def erased(images: Tensor, color: Tensor, area: float, rng: np.random.Generator) -> Tensor:
    """The images ``(N, C, H, W)``, each with one rectangle of a color ``(C, 1, 1)``.

    Args:
        images: They are not changed.
        color: What is put there.
        area: Greatest share of the area of an image.
        rng: Source of every random draw.
    """
    import torch

    n, _, height, width = images.shape
    shares, ratios = rng.uniform(area / 4, area, n), 2 ** rng.uniform(-1, 1, n)
    pixels = shares * height * width
    tall = np.minimum(height, np.rint(np.sqrt(pixels * ratios))).clip(1)
    wide = np.minimum(width, np.rint(pixels / tall)).clip(1)
    top, left = (np.floor(rng.random(n) * (most - side + 1)) for most, side in ((height, tall), (width, wide)))
    y, x = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    top, left, tall, wide = (value[:, None, None] for value in (top, left, tall, wide))
    inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
    return torch.where(torch.from_numpy(inside[:, None]).to(images.device), color, images)
