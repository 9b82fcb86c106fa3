"""Search for the latent vector whose image has, behind the head, the observed smashed data.

    z* = argmin  L(z, v),    L(z, v) = ||E(G(z)) - v||^2 / (size * variance)  +  pull * ||z||^2 / latent

S. Wang et al., "Crafter: Facial Feature Crafting against Inversion-based Identity Theft on Deep Models", NDSS 2024,
https://arxiv.org/abs/2401.07205: the white-box attacker searches this way, and the defender anticipates it. The search
starts at the latent vector that an amortizer, a network from smashed data to latent vectors, gives; gradient descent
with momentum follows.

Differs from the paper:

- The step is the inverse of the greatest curvature of L at generated images, measured once, while theirs is 5e-3 for a
  loss multiplied by 2,000; one setting serves all cuts.
- A weak pull to the latent prior. Without it, the part of the smashed data that no generated image explains drives z to
  regions from which no image was ever generated.
"""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.machine.compute import autocast
from cutlayer.nets import wgan
from cutlayer.nets.grid import Grid, Standardize, standardize
from cutlayer.nets.remembered import remembered
from cutlayer.progress import track

PULL = 0.01
POOL = 512
"""Number of images that represent all images of a generator."""
MOMENTUM = 0.9  # Crafter, the authors' code
Head = Callable[[Tensor], Tensor]


class Prior(nn.Module):
    """A generative prior over images, and its scales behind one head.

    Attributes:
        generator: ``(N, latent)`` -> ``(N, *image)`` in [0, 1].
        critic: ``(N, *image)`` -> ``(N, 1)``, high for images of the prior.
        amortizer: ``(N, *smashed)`` -> ``(N, latent)``.
        variance: Variance of the smashed data of generated images, a scalar.
        curvature: The greatest eigenvalue of the Hessian of L in z, over generated images.
    """

    variance: Tensor
    curvature: Tensor

    def __init__(self, latent: int, width: int, image: tuple[int, ...], smashed: tuple[int, ...]) -> None:
        super().__init__()
        self.latent = latent
        self.generator = wgan.generator(latent, width, image)
        self.critic = wgan.critic(width, image)
        self.amortizer = amortizer(smashed, image, latent, 4 * width)
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("curvature", torch.ones(()))

    @functools.cached_property
    def pool(self) -> Tensor:
        """Images of the generator at the first access, ``(POOL, *image)``, always from the same latent vectors."""
        with torch.no_grad():
            z = wgan.normal(POOL, self.latent, torch.Generator().manual_seed(0), self.variance.device)
            images: Tensor = self.generator(z)
        return images

    def loss(self, head: Head, z: Tensor, smashed: Tensor) -> Tensor:
        """The loss L of each latent vector, ``(N,)``."""
        misfit = (head(self.generator(z)) - smashed).square().flatten(1).mean(1) / self.variance
        return misfit + PULL * z.square().mean(1)

    def search(self, head: Head, smashed: Tensor, z: Tensor, steps: int) -> Tensor:
        """Descend from `z`, ``(N, latent)``, with each vector independent of the others."""
        z, velocity = z.detach(), torch.zeros_like(z)
        for _ in track(range(steps), "searching the latent vectors"):
            z.requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(head, z, smashed).sum(), z)
            velocity = MOMENTUM * velocity - gradient / self.curvature
            z = z.detach() + velocity
        return z


def amortizer(smashed: tuple[int, ...], image: tuple[int, ...], latent: int, width: int) -> nn.Sequential:
    """Build a network ``(N, *smashed)`` -> ``(N, latent)``."""
    grid = Grid(smashed, image)
    layers: list[nn.Module] = [grid, Standardize(grid.channels)]
    channels, height, width_px = grid.channels, grid.height, grid.width
    while min(height, width_px) > 4:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels, height, width_px = width, math.ceil(height / 2), math.ceil(width_px / 2)
    layers += [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width * height * width_px, latent))


def learned(
    head: nn.Module, images: Tensor, smashed: tuple[int, ...], *, latent: int, width: int, steps: int, seed: int
) -> Prior:
    """Learn a prior over images like these, with its scales behind this head; the last few are remembered and copied.

    Args:
        head: Head in eval mode, on the device of the images.
        images: ``(N, C, H, W)`` in [0, 1].
        smashed: Shape of the head's output for one image.
        latent: Length of a latent vector.
        width: Channels of generator and critic at full resolution.
        steps: Number of steps of the generator, and of the amortizer.
        seed: Seed of every random choice.
    """

    def train() -> Prior:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            prior = Prior(latent, width, tuple(images.shape[1:]), smashed)
        prior.to(images.device).eval()
        wgan.fit((prior.generator, prior.critic), images, latent, steps, seed)
        amortize(prior, head, steps, seed)
        return prior.eval().requires_grad_(False)

    settings = "latent", latent, width, steps, seed, str(head), tuple(images.shape), smashed, images.device
    return remembered(settings, (images, *head.state_dict().values()), train)


def amortize(prior: Prior, head: nn.Module, steps: int, seed: int) -> None:
    """Measure the head's scales at generated images, and train the amortizer to find their latent vectors."""
    random, device = torch.Generator().manual_seed(seed), prior.variance.device
    prior.requires_grad_(False)
    z = wgan.normal(4 * wgan.BATCH, prior.latent, random, device)
    with torch.no_grad():
        sample = head(prior.generator(z)).float()
        standardize(prior.amortizer, sample)
        prior.variance.copy_(sample.var().clamp(min=1e-12))
    few = slice(wgan.BATCH // 2)
    prior.curvature.copy_(curvature(prior, head, z[few], sample[few]))
    parameters = list(prior.amortizer.requires_grad_().parameters())
    optimizer = torch.optim.Adam(parameters, 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    for _ in track(range(steps), "training the amortizer"):
        z = wgan.normal(wgan.BATCH, prior.latent, random, device)
        with torch.no_grad(), autocast(device):
            smashed = head(prior.generator(z)).float()
        with autocast(device):
            estimate = prior.amortizer(smashed).float()
        loss = functional.mse_loss(estimate, z)
        optimizer.zero_grad()
        loss.backward(inputs=parameters)
        optimizer.step()
        schedule.step()


def curvature(prior: Prior, head: Head, z: Tensor, smashed: Tensor, rounds: int = 8) -> Tensor:
    """The greatest eigenvalue of the Hessian of L in z over these vectors, by power iteration; never 0."""
    product = hessian(prior, head, z, smashed)[1]
    vector = functional.normalize(torch.ones_like(z), dim=1)
    size = torch.ones(len(z), 1)
    for _ in range(rounds):
        vector = product(vector)
        size = vector.norm(dim=1, keepdim=True)
        vector = vector / size.clamp(min=1e-12)
    return size.max().clamp(min=1e-12)


def hessian(prior: Prior, head: Head, z: Tensor, smashed: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The gradient of L in z, ``(N, latent)``, differentiable in `smashed`, and its Hessian times a vector.

    The Hessian of the sum over a batch has a block for each image, because nothing in eval mode couples two images.
    """
    z = z.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(prior.loss(head, z, smashed).sum(), z, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        return torch.autograd.grad(gradient, z, vector, retain_graph=True)[0]

    return gradient, product
