"""Correctors: networks that improve a reconstruction, given what is still unexplained of what arrived."""

from torch import Tensor, nn
from torch.nn.functional import pad, pixel_shuffle, pixel_unshuffle

from cutlayer.nets.decoders import Residual
from cutlayer.nets.grid import Fit, Grid

FOLD = 2
"""Pixels on a side of the squares that become channels, so that layers are cheaper and see farther."""


class Corrector(nn.Module):
    """One step: images and what is unexplained, to better images. Untrained it changes nothing.

    Args:
        smashed: Shape of the smashed data of one image.
        image: ``(C, H, W)``.
        pictures: Number of images that it sees, the current one among them.
        width: Channels of its layers.
        blocks: Residual blocks.
    """

    def __init__(
        self, smashed: tuple[int, ...], image: tuple[int, ...], pictures: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        channels, height, width_px = image
        grid = Grid(smashed, image)
        self.height, self.width = height, width_px
        rows, columns = -(-height // FOLD), -(-width_px // FOLD)
        layers: list[nn.Module] = [grid, nn.BatchNorm2d(grid.channels)]
        for _ in range(max(0, grid.doublings - 1)):
            layers += [nn.Upsample(scale_factor=2)]
        self.unexplained = nn.Sequential(*layers, Fit(rows, columns), nn.Conv2d(grid.channels, width, 3, padding=1))
        folded = pictures * channels * FOLD**2
        self.seen = nn.Sequential(nn.BatchNorm2d(folded), nn.Conv2d(folded, width, 3, padding=1))
        self.body = nn.Sequential(*(Residual(width) for _ in range(blocks)), nn.BatchNorm2d(width), nn.ReLU())
        self.last = nn.Conv2d(width, channels * FOLD**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, pictures: Tensor, misfit: Tensor) -> Tensor:
        """The correction of the image.

        Args:
            pictures: ``(N, pictures * C, H, W)``.
            misfit: ``(N, *smashed)``, what arrived minus what the current image would have sent.

        Returns:
            ``(N, C, H, W)``.
        """
        more = pad(pictures, (0, self.width % FOLD, 0, self.height % FOLD), mode="replicate")
        hidden = self.seen(pixel_unshuffle(more, FOLD)) + self.unexplained(misfit)
        return pixel_shuffle(self.last(self.body(hidden)), FOLD)[:, :, : self.height, : self.width]
