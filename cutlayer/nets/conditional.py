"""A generator of images of each class, learned against a critic from images whose classes a model has guessed.

    critic:     min  E relu(1 - D(x, y)) + E relu(1 + D(G(z, y), y))
    generator:  min  -E D(G(z, y), y) + GUIDE E L(G(z, y), y),      z ~ N(0, I), y uniform

T. Miyato, M. Koyama, "cGANs with Projection Discriminator", ICLR 2018, https://arxiv.org/abs/1802.05637: every batch
normalization of the generator has a scale and a shift for each class; the critic, whose layers are divided by their
spectral norm, adds the product of its features and a vector of the class. X. Yuan, K. Chen, J. Zhang, W. Zhang, N. Yu,
Y. Zhang, "Pseudo Label-Guided Model Inversion Attack via Conditional Generative Adversarial Network", AAAI 2023,
https://arxiv.org/abs/2302.09814, learn it so, with a loss L of the model under attack; settings as in their code,
https://github.com/LetheSec/PLG-MI-Attack at commit 3cf8735: Adam 2e-4 with betas 0 and 0.9, batches of 64, GUIDE 0.2.

Differs from theirs: the generator first learns to generate each image from its class and the whitened principal
components of what differs from the class's mean, as in `cutlayer.nets.wgan`, because their 30,000 steps are too many
here; it follows the critic for a quarter as many steps, with 2 of the critic's (theirs: 5) for each, and the mean of
its weights over the last half is kept. The class also shifts the first layer, without which few steps leave the layout
of all classes the same. Blocks are not residual.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel

from cutlayer.machine.compute import autocast
from cutlayer.nets import wgan
from cutlayer.nets.priors import Block, Prior
from cutlayer.progress import track

Guide = Callable[[Tensor, Tensor], Tensor]
"""Images ``(N, C, H, W)`` and their classes ``(N,)`` to a loss of each, ``(N,)``."""
LR, BETAS, N_CRITIC, GUIDE = 2e-4, (0.0, 0.9), 2, 0.2
RECONSTRUCT_LR = 2e-3


class Conditional(Prior):
    """A generator whose images are of a class.

    Args:
        latent: Length of a latent vector.
        width: Channels at full resolution.
        image: ``(C, H, W)``.
        classes: Number of classes.
    """

    conditional = True

    def __init__(self, latent: int, width: int, image: tuple[int, ...], classes: int) -> None:
        super().__init__(latent)
        first, *others = wgan.generator(latent, width, image)
        assert isinstance(first, nn.Linear)
        self.stages, stage = nn.ModuleList(), list[nn.Module]([ClassLinear(latent, first.out_features, classes)])
        for layer in others:
            stage.append(ClassNorm(layer.num_features, classes) if isinstance(layer, nn.BatchNorm2d) else layer)
            if isinstance(layer, nn.ReLU):
                self.stages.append(Stage(stage))
                stage = []
        self.stages.append(Stage(stage))

    def blocks(self) -> Sequence[Block]:
        """The parts of the generator that end with an activation, and the part that makes the image."""
        return [cast("Block", stage) for stage in self.stages]

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Latent vectors ``(N, latent)`` and classes ``(N,)`` to images ``(N, C, H, W)`` in [0, 1]."""
        return self.image(z, y)


class Stage(nn.Module):
    """Layers one after the other, some of which take the class."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Map what the stage before passes on."""
        if y is None:
            raise ValueError("A conditional generator takes the class of each image.")
        for layer in self.layers:
            x = layer(x, y) if isinstance(layer, ClassLinear | ClassNorm) else layer(x)
        return x


class ClassLinear(nn.Module):
    """A linear layer whose bias depends on the class."""

    def __init__(self, inputs: int, outputs: int, classes: int) -> None:
        super().__init__()
        self.linear, self.bias = nn.Linear(inputs, outputs, bias=False), nn.Embedding(classes, outputs)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map ``(N, inputs)`` to ``(N, outputs)``."""
        outputs: Tensor = self.linear(x) + self.bias(y)
        return outputs


class ClassNorm(nn.Module):
    """Batch normalization whose scale and shift depend on the class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale, self.shift = nn.Embedding(classes, channels), nn.Embedding(classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map ``(N, channels, h, w)`` to the same shape."""
        scaled: Tensor = self.norm(x) * self.scale(y)[:, :, None, None] + self.shift(y)[:, :, None, None]
        return scaled


class Critic(nn.Module):
    """Images ``(N, C, H, W)`` and classes ``(N,)`` to scores ``(N,)``, high for images of that class."""

    def __init__(self, width: int, image: tuple[int, ...], classes: int) -> None:
        super().__init__()
        *layers, last = wgan.critic(width, image)
        assert isinstance(last, nn.Linear)
        self.features = nn.Sequential(*(spectral_norm(m) if isinstance(m, nn.Conv2d) else m for m in layers))
        self.score = spectral_norm(nn.Linear(last.in_features, 1))
        self.classes = spectral_norm(nn.Embedding(classes, last.in_features))

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Score each image as one of its class."""
        found = self.features(images)
        score: Tensor = self.score(found).squeeze(1) + (self.classes(y) * found).sum(1)
        return score


def learned_conditional(
    images: Tensor, labels: Tensor, classes: int, guide: Guide, *, latent: int, width: int, steps: int, seed: int
) -> Conditional:
    """Train a generator of images of these classes, in eval mode.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)`` int64: the class that each is taken for; every class that is to be shown occurs.
        classes: Number of classes.
        guide: What the model under attack thinks of an image.
        latent: Length of a latent vector.
        width: Channels of generator and critic at full resolution.
        steps: Steps of the generator without the critic; a quarter as many follow against it.
        seed: Seed of every random choice.
    """
    image = tuple(images.shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = Conditional(latent, width, image, classes).to(images.device)
        critic = Critic(width, image, classes).to(images.device)
    random = torch.Generator().manual_seed(seed)
    reconstruct(prior, images, labels, steps, random)
    train(prior, critic, images, labels, guide, steps // 4, random)
    return prior.eval()


def taught(
    image: tuple[int, ...],
    classes: int,
    lesson: Guide,
    *,
    latent: int,
    width: int,
    steps: int,
    lr: float,
    seed: int,
    device: torch.device,
) -> Conditional:
    """Train a generator of classes from nothing but what is said of its images, in eval mode.

    Args:
        image: ``(C, H, W)``.
        classes: Number of classes, which are drawn with equal probability.
        lesson: What is to be little, for a batch of images; it may learn from the batch itself.
        latent: Length of a latent vector.
        width: Channels at full resolution.
        steps: Steps of Adam, with betas 0.5 and 0.999.
        lr: Learning rate.
        seed: Seed of every random choice.
        device: Where to train.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = Conditional(latent, width, image, classes).to(device)
    random, adam = torch.Generator().manual_seed(seed), torch.optim.Adam(prior.parameters(), lr, betas=(0.5, 0.999))
    prior.train()
    for _ in track(range(steps), "teaching the generator of classes"):
        y = torch.randint(classes, (wgan.BATCH,), generator=random).to(device)
        with autocast(device):
            made = prior(prior.sample(wgan.BATCH, y, random), y).float()
        adam.zero_grad()
        lesson(made, y).mean().backward(inputs=list(prior.parameters()))
        adam.step()
    return prior.eval()


def reconstruct(prior: Conditional, images: Tensor, labels: Tensor, steps: int, random: torch.Generator) -> None:
    """Train the generator to generate each image from its latent vector and its class, by the mean squared error."""
    means = torch.stack([images[labels == y].mean(0) for y in labels.unique()])
    # What is left without the class's mean, or else the latent vector would tell the class and nothing would use y.
    latents = wgan.codes(images - means[labels.unique(return_inverse=True)[1]], prior.latent, random)
    adam = torch.optim.Adam(prior.parameters(), RECONSTRUCT_LR)
    prior.train()
    for _ in track(range(steps), "training the generator of classes"):
        rows = torch.randint(len(images), (wgan.BATCH,), generator=random).to(images.device)
        with autocast(images.device):
            generated = prior(latents[rows], labels[rows]).float()
        adam.zero_grad()
        mse_loss(generated, images[rows]).backward(inputs=list(prior.parameters()))
        adam.step()


def train(
    prior: Conditional,
    critic: Critic,
    images: Tensor,
    labels: Tensor,
    guide: Guide,
    steps: int,
    random: torch.Generator,
) -> None:
    """Train both against each other, with as many steps of the critic alone first."""
    prior_adam = torch.optim.Adam(prior.parameters(), LR, betas=BETAS)
    critic_adam = torch.optim.Adam(critic.parameters(), LR, betas=BETAS)
    mean = AveragedModel(prior, use_buffers=True)
    prior.train()

    def drawn() -> Tensor:
        return torch.randint(len(images), (wgan.BATCH,), generator=random).to(images.device)

    def generated() -> tuple[Tensor, Tensor]:
        y = labels[drawn()]
        with autocast(images.device):
            return prior(prior.sample(wgan.BATCH, y, random), y).float(), y

    for step in track(range(steps), "training the generator of classes against its critic"):
        for _ in range(N_CRITIC if step else N_CRITIC + steps):
            rows = drawn()
            with torch.no_grad():
                made, y = generated()
            with autocast(images.device):
                real, fake = critic(images[rows], labels[rows]).float(), critic(made, y).float()
            loss = (1 - real).relu().mean() + (1 + fake).relu().mean()
            critic_adam.zero_grad()
            loss.backward(inputs=list(critic.parameters()))
            critic_adam.step()
        made, y = generated()
        with autocast(images.device):
            score = critic(made, y).float()
        loss = GUIDE * guide(made, y).mean() - score.mean()
        prior_adam.zero_grad()
        loss.backward(inputs=list(prior.parameters()))
        prior_adam.step()
        if step >= steps // 2:
            mean.update_parameters(prior)
    if steps:
        prior.load_state_dict(mean.module.state_dict())
