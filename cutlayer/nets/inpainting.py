"""A generator that fills the hidden part of images, in as many ways as there are latent vectors, with two critics.

After the inpainting network of SecretGen (Z. Yuan et al., ECCV 2022, https://arxiv.org/abs/2207.12263): one critic sees
the whole image, the other the hidden part. Training is that of `cutlayer.nets.wgan`: the generator first learns to
rebuild the hidden part of each image from what is visible and a code of the part, its whitened principal components, so
that latent vectors matter from the beginning; then both critics judge what it makes of random ones. So there is no term
for diversity.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cutlayer.machine.compute import autocast
from cutlayer.nets import wgan
from cutlayer.nets.grid import Fit
from cutlayer.nets.remembered import remembered
from cutlayer.progress import track


class Inpainter(nn.Module):
    """The generator, with a critic of the whole image and one of the rectangle around the hidden part.

    Args:
        latent: Length of a latent vector.
        width: Channels at full resolution.
        image: ``(C, H, W)``.
        mask: ``(1, 1, H, W)`` bool, true where images are hidden.
    """

    mask: Tensor

    def __init__(self, latent: int, width: int, image: tuple[int, ...], mask: Tensor) -> None:
        super().__init__()
        channels, height, width_px = image
        low = math.ceil(height / 4), math.ceil(width_px / 4)
        self.latent = latent
        self.register_buffer("mask", mask.clone())
        self.see = nn.Sequential(
            Fit(4 * low[0], 4 * low[1]),
            *_layer(nn.Conv2d(channels + 1, width, 4, 2, 1, bias=False)),
            *_layer(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)),
        )
        self.imagine = nn.Sequential(nn.Linear(latent, 2 * width * low[0] * low[1]), nn.Unflatten(1, (-1, *low)))
        self.fill = nn.Sequential(
            *_layer(nn.Conv2d(4 * width, 4 * width, 5, padding=2, bias=False)),
            *_layer(nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False)),
            *_layer(nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False)),
            nn.Conv2d(width, channels, 3, padding=1), nn.Sigmoid(), Fit(height, width_px),
        )  # fmt: skip
        rows, columns = (mask[0, 0].any(axis).nonzero().flatten() for axis in (1, 0))
        self.box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        self.whole = wgan.critic(width, image)
        self.local = wgan.critic(width, (channels, len(range(height)[self.box[0]]), len(range(width_px)[self.box[1]])))

    def forward(self, z: Tensor, visible: Tensor) -> Tensor:
        """Fill the hidden part of ``(N, *image)`` in [0, 1], whose visible part stays, by ``(N, latent)``."""
        known = visible * ~self.mask
        shown = torch.cat([known, self.mask.to(known).expand(len(known), -1, -1, -1)], 1)
        filled: Tensor = self.fill(torch.cat([self.see(shown), self.imagine(z)], 1)).float()
        return torch.where(self.mask, filled, known)

    def hidden(self, images: Tensor) -> Tensor:
        """The rectangle around the hidden part, ``(N, C, h, w)``."""
        return images[..., self.box[0], self.box[1]]

    def likeness(self, images: Tensor) -> Tensor:
        """The sum of both critics' scores, ``(N,)``; greater for what looks like data."""
        scores: Tensor = self.whole(images) + self.local(self.hidden(images))
        return scores.flatten()


def _layer(convolution: nn.Module) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]  # type: ignore[arg-type]


def learned_inpainter(images: Tensor, mask: Tensor, *, latent: int, width: int, steps: int, seed: int) -> Inpainter:
    """Train an inpainter, in evaluation mode afterwards; the last few are remembered and copied.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        mask: ``(1, 1, H, W)`` bool.
        latent: Length of a latent vector.
        width: Channels at full resolution.
        steps: Steps without the critics; a quarter as many follow against them.
        seed: Seed of every random choice.
    """

    def train() -> Inpainter:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Inpainter(latent, width, tuple(images.shape[1:]), mask.cpu())
        network.to(images.device)
        _fit(network, images, steps, torch.Generator().manual_seed(seed))
        return network.eval().requires_grad_(False)

    settings = "inpainter", latent, width, steps, seed, tuple(images.shape), images.device
    return remembered(settings, (images, mask), train)


def _fit(network: Inpainter, images: Tensor, steps: int, random: torch.Generator) -> None:
    generator = [*network.see.parameters(), *network.imagine.parameters(), *network.fill.parameters()]
    codes = wgan.codes(network.hidden(images), network.latent, random)
    adam = torch.optim.Adam(generator, 2e-3)
    network.train()
    for _ in track(range(steps), "training the generator of hidden parts"):
        rows = torch.randint(len(images), (wgan.BATCH,), generator=random).to(images.device)
        with autocast(images.device):
            filled = network(codes[rows], images[rows])
        loss = mse_loss(network.hidden(filled), network.hidden(images[rows]))
        adam.zero_grad()
        loss.backward(inputs=generator)
        adam.step()
    adam = torch.optim.Adam(generator, wgan.LR, betas=wgan.BETAS)
    critics = [(critic, torch.optim.Adam(critic.parameters(), wgan.CRITIC_LR, betas=wgan.BETAS), part)
               for critic, part in ((network.whole, nn.Identity()), (network.local, network.hidden))]  # fmt: skip

    def drawn() -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(images), (wgan.BATCH,), generator=random).to(images.device)
        return wgan.normal(wgan.BATCH, network.latent, random, images.device), images[rows]

    for step in track(range(steps // 4), "training the generator against its critics"):
        for _ in range(wgan.N_CRITIC if step else wgan.N_CRITIC + wgan.HEAD_START * (steps // 4)):
            z, real = drawn()
            with torch.no_grad(), autocast(images.device):
                filled = network(z, real)
            for critic, critic_adam, part in critics:
                wgan.critic_step(critic, critic_adam, part(real), part(filled), random)
        z, real = drawn()
        with autocast(images.device):
            loss = -network.likeness(network(z, real)).float().mean()
        adam.zero_grad()
        loss.backward(inputs=generator)
        adam.step()
    network.eval()
