"""A small generative prior: generator, critic, and their adversarial training (WGAN-GP).

    critic:     min  E D(G(z)) - E D(x) + gp * E (||grad D(x~)||_2 - 1)^2,  x~ on the line between x and G(z)
    generator:  min  -E D(G(z)),  z ~ N(0, I)

I. Gulrajani, F. Ahmed, M. Arjovsky, V. Dumoulin, A. Courville, "Improved Training of Wasserstein GANs", NeurIPS 2017,
https://arxiv.org/abs/1704.00028, Algorithm 1; the layers are those of DCGAN (Radford et al., ICLR 2016).

Differs from the paper:

- The generator first learns to generate each image from its whitened principal components (as P. Bojanowski et al.,
  "Optimizing the Latent Space of Generative Networks", ICML 2018, begin), because few steps leave noise otherwise.
- The critic has a head start, and the generator the lower learning rate.
- The final weights of the generator are the mean over the last half of its adversarial steps.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from cutlayer.machine.compute import autocast
from cutlayer.nets.grid import Fit
from cutlayer.progress import track

BETAS, GP = (0.0, 0.9), 10.0
"""Betas of Adam and the weight of the gradient penalty; Gulrajani et al., Algorithm 1."""
LR, CRITIC_LR, N_CRITIC = 5e-5, 5e-4, 3
"""Learning rates of generator and critic (theirs: 1e-4 for both), and steps of the critic for each of the generator's
(theirs: 5)."""
BATCH = 64
"""Number of images in a step."""
HEAD_START = 2
"""Steps of the critic before the generator's first, for each step of the generator: an untrained critic is no guide."""
_PRINCIPAL = 1000
"""Number of images from which the principal components are computed."""
_COARSE = 4
"""Greatest height and width in pixels at which the generator starts and the critic ends."""


def generator(latent: int, width: int, image: tuple[int, ...]) -> nn.Sequential:
    """Build a network ``(N, latent)`` -> ``(N, *image)`` in [0, 1].

    Args:
        latent: Length of a latent vector.
        width: Channels at full resolution; they double with every halving of it, up to eightfold.
        image: ``(C, H, W)``.
    """
    doublings, height, width_px = _pyramid(image)
    channels = [width * min(8, 2**k) for k in range(doublings + 1)][::-1]
    start = nn.Unflatten(1, (channels[0], height, width_px))
    layers = [nn.Linear(latent, channels[0] * height * width_px, bias=False), start]
    layers += [nn.BatchNorm2d(channels[0]), nn.ReLU()]
    for before, after in pairwise(channels):
        up = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)
        layers += [up, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], image[0], 3, padding=1), nn.Sigmoid(), Fit(*image[1:]))


def critic(width: int, image: tuple[int, ...]) -> nn.Sequential:
    """Build a network ``(N, *image)`` -> ``(N, 1)`` without batch normalization, because each image has its penalty."""
    doublings, height, width_px = _pyramid(image)
    channels = [image[0], *[width * min(8, 2**k) for k in range(doublings)]]
    layers: list[nn.Module] = [Fit(height * 2**doublings, width_px * 2**doublings)]
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * height * width_px, 1))


def _pyramid(image: tuple[int, ...]) -> tuple[int, int, int]:
    """The number of doublings, and the height and width from which they reach at least those of the image."""
    doublings = max(0, math.ceil(math.log2(max(image[1:]) / _COARSE)))
    return doublings, math.ceil(image[1] / 2**doublings), math.ceil(image[2] / 2**doublings)


def fit(networks: tuple[nn.Module, nn.Module], images: Tensor, latent: int, steps: int, seed: int) -> None:
    """Train a generator and its critic: first without the critic, then a quarter as many steps against it.

    Args:
        networks: The generator and the critic, which are in eval mode afterwards.
        images: ``(N, C, H, W)`` in [0, 1], on the device of the networks.
        latent: Length of a latent vector.
        steps: Number of steps of the generator without the critic; 0 changes neither.
        seed: Seed of every random choice.
    """
    random = torch.Generator().manual_seed(seed)
    reconstruct(networks[0], images, codes(images, latent, random), steps, random)
    train(*networks, images, latent, steps // 4, random)


def codes(images: Tensor, latent: int, random: torch.Generator) -> Tensor:
    """Latent vectors of the images, ``(N, latent)``: whitened principal components, then draws of the normal prior."""
    flat = images.flatten(1)
    sample = flat[:_PRINCIPAL] - flat[:_PRINCIPAL].mean(0)
    variances, vectors = torch.linalg.eigh(sample @ sample.T)  # of the images, fewer than the pixels
    n_components = min(latent, int((variances > 1e-4 * variances.max()).sum()))
    directions = sample.T @ vectors[:, len(sample) - n_components :]
    components = (flat - flat[:_PRINCIPAL].mean(0)) @ directions
    components = (components - components.mean(0)) / components.std(0)
    return torch.cat([components, normal(len(images), latent - n_components, random, images.device)], dim=1)


def reconstruct(generator: nn.Module, images: Tensor, latents: Tensor, steps: int, random: torch.Generator) -> None:
    """Train the generator to generate each image from its latent vector, by the mean squared error."""
    optimizer = torch.optim.Adam(generator.parameters(), 2e-3)
    generator.train()
    for _ in track(range(steps), "training the generator"):
        rows = torch.randint(len(images), (BATCH,), generator=random).to(images.device)
        with autocast(images.device):
            generated = generator(latents[rows]).float()
        loss = functional.mse_loss(generated, images[rows])
        optimizer.zero_grad()
        loss.backward(inputs=list(generator.parameters()))
        optimizer.step()
    generator.eval()


def train(
    generator: nn.Module, critic: nn.Module, images: Tensor, latent: int, steps: int, random: torch.Generator
) -> None:
    """Train both against each other for `steps` steps of the generator; they are in eval mode afterwards."""
    generator_adam = torch.optim.Adam(generator.parameters(), LR, betas=BETAS)
    critic_adam = torch.optim.Adam(critic.parameters(), CRITIC_LR, betas=BETAS)
    mean = AveragedModel(generator, use_buffers=True)
    generator.train()
    critic.train()
    for step in track(range(steps), "training the generator against its critic"):
        for _ in range(N_CRITIC if step else N_CRITIC + HEAD_START * steps):
            real = images[torch.randint(len(images), (BATCH,), generator=random).to(images.device)]
            with torch.no_grad(), autocast(images.device):
                generated = generator(normal(BATCH, latent, random, images.device)).float()
            critic_step(critic, critic_adam, real, generated, random)
        with autocast(images.device):
            loss = -critic(generator(normal(BATCH, latent, random, images.device))).float().mean()
        generator_adam.zero_grad()
        loss.backward(inputs=list(generator.parameters()))
        generator_adam.step()
        if step >= steps // 2:
            mean.update_parameters(generator)
    if steps:
        generator.load_state_dict(mean.module.state_dict())
    generator.eval()
    critic.eval()


def critic_step(
    critic: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, generated: Tensor, random: torch.Generator
) -> None:
    """Take a step that teaches the critic to score `real` high and `generated` low, both ``(N, C, H, W)``."""
    with autocast(real.device):
        distance = critic(real).float().mean() - critic(generated).float().mean()
    loss = GP * gradient_penalty(critic, real, generated, random) - distance
    optimizer.zero_grad()
    loss.backward(inputs=list(critic.parameters()))
    optimizer.step()


def gradient_penalty(critic: nn.Module, real: Tensor, generated: Tensor, random: torch.Generator) -> Tensor:
    """The scalar ``E (||grad D(x~)||_2 - 1)^2`` at random points between the images of two batches of the same size."""
    share = torch.rand(len(real), 1, 1, 1, generator=random).to(real)
    between = torch.lerp(real, generated, share).requires_grad_()
    with autocast(real.device):
        score = critic(between).float().sum()
    (gradient,) = torch.autograd.grad(score, between, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def normal(n: int, latent: int, random: torch.Generator, device: torch.device) -> Tensor:
    """Draw latent vectors of the prior, ``(n, latent)``, the same on every device."""
    return torch.randn(n, latent, generator=random).to(device)
