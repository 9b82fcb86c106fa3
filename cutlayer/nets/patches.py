"""A critic that sees patches of an image and never the whole: it knows the texture of data, and nothing of its layout.

P. Isola, J.-Y. Zhu, T. Zhou, A. Efros, "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
https://arxiv.org/abs/1611.07004; with the hinge loss and spectral normalization of `cutlayer.nets.conditional`.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

LR, BETAS = 2e-4, (0.0, 0.9)


class PatchCritic(nn.Sequential):
    """Images ``(N, C, H, W)`` to the score of each of their patches ``(N, 1, h, w)``, high for patches of data.

    Args:
        width: Channels of the first layer.
        image: ``(C, H, W)``.
        share: Side of a patch, as a share of the shorter side of the image; four pixels are the least.
    """

    def __init__(self, width: int, image: tuple[int, ...], share: float) -> None:
        wide = max(1, round((share * min(image[1:]) - 4) / 2) + 1)  # each further one is two pixels of the image
        super().__init__(
            spectral_norm(nn.Conv2d(image[0], width, 4, stride=2)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 4 * width, wide)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(4 * width, 1, 1)),
        )
        self._adam = torch.optim.Adam(self.parameters(), LR, betas=BETAS)

    def learn(self, real: Tensor, made: Tensor) -> None:
        """Take a step that teaches the critic to score patches of `real` high and those of `made` low."""
        loss = (1 - self(real)).relu().mean() + (1 + self(made.detach())).relu().mean()
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()
