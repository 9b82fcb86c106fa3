"""Priors over images: what an attacker searches in place of pixels, so that what it finds looks like data.

A prior makes images of latent vectors. The attacks on answers search the vectors, and take every prior through the one
interface `Prior`. Here are the pixels themselves, the principal components of images, and a generator with its critic
(`cutlayer.nets.wgan`).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from cutlayer.nets import wgan
from cutlayer.nets.remembered import remembered

Block = Callable[[Tensor, Tensor | None], Tensor]
"""A part of a generator: what the part before passes on, and the classes or None, to what it passes on itself."""
_MOST = 2000
"""Images from which principal components are computed."""
_SPREAD = 0.1
"""Standard deviation of the noise with which a search of pixels starts."""


class Prior(nn.Module):
    """Base of the priors; a subclass defines `image`, and what else differs.

    Attributes:
        latent: Length of a latent vector.
    """

    conditional: ClassVar[bool] = False
    """Whether the image depends on the class that is asked for."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def sample(self, n: int, y: Tensor | None, random: torch.Generator) -> Tensor:
        """Draw latent vectors, ``(n, latent)``, on the prior's device, the same on every device.

        Args:
            n: Number of vectors.
            y: ``(n,)`` int64: the class of each; None where classes are of no account to the prior.
            random: Source on the CPU.
        """
        return wgan.normal(n, self.latent, random, self.device)

    def image(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The images ``(N, *image)`` in [0, 1] of latent vectors ``(N, latent)``, differentiable in `z`."""
        for block in self.blocks():
            z = block(z, y)
        return z

    def penalty(self, z: Tensor, image: Tensor) -> Tensor:
        """How unlike data each image looks, ``(N,)``; 0 where the prior does not judge."""
        return torch.zeros(len(z), device=z.device)

    def clip(self, z: Tensor) -> Tensor:
        """The nearest latent vectors that stand for images."""
        return z

    def blocks(self) -> Sequence[Block]:
        """The parts that make an image one after the other, of which the first takes the latent vector."""
        raise NotImplementedError(f"{type(self).__name__} lacks blocks()")

    @property
    def device(self) -> torch.device:
        """Where the prior computes."""
        return next(iter([*self.parameters(), *self.buffers()])).device


class Pixels(Prior):
    """No prior: the latent vector is the image. Its `penalty` is the total variation.

    Args:
        start: ``(*image,)`` in [0, 1]: the image around which a search starts.
        spread: Standard deviation of the noise at the start.
    """

    start: Tensor

    def __init__(self, start: Tensor, spread: float = _SPREAD) -> None:
        super().__init__(start.numel())
        self.spread = spread
        self.register_buffer("start", start.clone())

    def sample(self, n: int, y: Tensor | None, random: torch.Generator) -> Tensor:
        """The starting image with noise."""
        return self.clip(self.start.flatten() + self.spread * super().sample(n, y, random))

    def penalty(self, z: Tensor, image: Tensor) -> Tensor:
        """Mean absolute difference of neighbouring elements along the last two axes."""
        rows, columns = image.diff(dim=-2).abs(), image.diff(dim=-1).abs()
        return rows.flatten(1).mean(1) + columns.flatten(1).mean(1)

    def clip(self, z: Tensor) -> Tensor:
        """Values in [0, 1]."""
        return z.clamp(0, 1)

    def blocks(self) -> Sequence[Block]:
        """One part."""
        return [lambda z, _: z.unflatten(1, self.start.shape)]


class Linear(Prior):
    """The principal components of images; nothing is trained: ``clip(mean + W diag(s) z)``, ``z ~ N(0, I)``.

    Args:
        images: ``(N, *image)`` in [0, 1], two or more.
        latent: Greatest number of components.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, images: Tensor, latent: int) -> None:
        flat = images[:_MOST].flatten(1)
        centred = flat - flat.mean(0)
        variances, vectors = torch.linalg.eigh(centred @ centred.T)  # of the images, fewer than the pixels
        kept = int((variances[-latent:] > 1e-5 * variances[-1].clamp(min=1e-12)).sum())
        super().__init__(kept)
        # eigh's vectors u and values s^2: each direction is X^T u / s, its standard deviation s / sqrt(N)
        self.register_buffer("mean", images.flatten(1).mean(0).view(images.shape[1:]))
        self.register_buffer("basis", vectors[:, len(vectors) - kept :].T @ centred / len(flat) ** 0.5)

    def blocks(self) -> Sequence[Block]:
        """One part."""
        return [lambda z, _: (self.mean + (z @ self.basis).unflatten(1, self.mean.shape)).clamp(0, 1)]


class Wgan(Prior):
    """A generator and its critic, see `cutlayer.nets.wgan`; the critic's doubt is the `penalty`.

    Args:
        latent: Length of a latent vector.
        width: Channels of both at full resolution.
        image: ``(C, H, W)``.
    """

    def __init__(self, latent: int, width: int, image: tuple[int, ...]) -> None:
        super().__init__(latent)
        self.generator = wgan.generator(latent, width, image)
        self.critic = wgan.critic(width, image)

    def penalty(self, z: Tensor, image: Tensor) -> Tensor:
        """Minus the critic's score."""
        return -cast("Tensor", self.critic(image)).squeeze(1)

    def blocks(self) -> Sequence[Block]:
        """The generator in parts that end with an activation, and the part that makes the image."""
        return [_unconditional(part) for part in parts(self.generator)]


def parts(network: nn.Sequential) -> list[nn.Module]:
    """The network in parts, each of which ends with an activation, and what follows the last."""
    ends = [k + 1 for k, layer in enumerate(network) if isinstance(layer, nn.ReLU | nn.LeakyReLU)]
    return [network[a:b] for a, b in pairwise([0, *ends, len(network)])]


def _unconditional(part: nn.Module) -> Block:
    return lambda x, _: part(x)


def learned_wgan(images: Tensor, *, latent: int, width: int, steps: int, seed: int) -> Wgan:
    """Train a generator of images like these with its critic; the last few are remembered and copied.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        latent: Length of a latent vector.
        width: Channels of both at full resolution.
        steps: Steps of the generator without the critic; a quarter as many follow against it.
        seed: Seed of every random choice.
    """

    def train() -> Wgan:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            prior = Wgan(latent, width, tuple(images.shape[1:]))
        prior.to(images.device)
        wgan.fit((prior.generator, prior.critic), images, latent, steps, seed)
        return prior.eval().requires_grad_(False)

    settings = "wgan", latent, width, steps, seed, tuple(images.shape), images.device
    return remembered(settings, (images,), train)
