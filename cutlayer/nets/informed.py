"""A generator whose critic also learns what a model says of images, and so keeps what the model looks at.

With u = C(x) the K outputs of the critic and s = log sum exp u the odds that an image is real:

    critic:     min  E CE(u(x), softmax T(x)) + (E softplus(-s(x)) + E softplus(s(G(z)))) / 2
    generator:  min  |E phi(G(z)) - E phi(x)| + ENTROPY E H(softmax u(G(z))),        phi the critic's last features

S. Chen, M. Kahla, R. Jia, G.-J. Qi, "Knowledge-Enriched Distributional Model Inversion Attacks", ICCV 2021,
https://arxiv.org/abs/2010.04092; settings as in their code, https://github.com/SCccc21/Knowledge-Enriched-DMI at commit
1ec92f4: Adam 2e-4 with betas 0.5 and 0.999, batches of 64. There the entropy is summed over a batch with weight 1e-4,
so that its weight grows with the batch; here it is the mean with the weight that theirs has in a batch of 64.

Differs from theirs: the generator first learns to generate each image from its whitened principal components, as in
`cutlayer.nets.wgan`, because their 120 epochs are too many here; a quarter as many steps against the critic follow,
with 2 of the critic's (theirs: 5) for each, and the mean of its weights over the last half is kept. The critic compares
no images with each other (minibatch discrimination), because in a search the pictures of one batch would depend on each
other.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus
from torch.optim.swa_utils import AveragedModel

from cutlayer.machine.compute import autocast
from cutlayer.nets import wgan
from cutlayer.nets.priors import Block, Prior, parts
from cutlayer.progress import track

LR, BETAS, N_CRITIC = 2e-4, (0.5, 0.999), 2
ENTROPY = 1e-4 * 64
FIRST = 2
"""Layers of the critic up to its first convolution, whose channels are not normalized."""


class Informed(Prior):
    """A generator and a critic with an output for each class of a model; its doubt is the `penalty`.

    Args:
        latent: Length of a latent vector.
        width: Channels of both networks at full resolution.
        image: ``(C, H, W)``.
        classes: Number of classes.
    """

    def __init__(self, latent: int, width: int, image: tuple[int, ...], classes: int) -> None:
        super().__init__(latent)
        self.generator = wgan.generator(latent, width, image)
        self.critic = Critic(width, image, classes)

    def penalty(self, z: Tensor, image: Tensor) -> Tensor:
        """``softplus(-s)``: minus the log-probability that the critic gives the image of being real."""
        return softplus(-cast("Tensor", self.critic(image)).logsumexp(1))

    def blocks(self) -> Sequence[Block]:
        """The parts of the generator, as those of `cutlayer.nets.priors.Wgan`."""
        return [_unconditional(part) for part in parts(self.generator)]


def _unconditional(part: nn.Module) -> Block:
    return lambda x, _: part(x)


class Critic(nn.Module):
    """Images ``(N, C, H, W)`` to K outputs ``(N, classes)``; the features are what the last layer gets."""

    def __init__(self, width: int, image: tuple[int, ...], classes: int) -> None:
        super().__init__()
        *plain, last = wgan.critic(width, image)
        assert isinstance(last, nn.Linear)
        layers = list[nn.Module]()
        for layer in plain:
            layers.append(layer)
            if isinstance(layer, nn.Conv2d) and len(layers) > FIRST:
                layers.append(nn.InstanceNorm2d(layer.out_channels, affine=True))
        self.features, self.last = nn.Sequential(*layers), nn.Linear(last.in_features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """The outputs."""
        return self.both(images)[1]

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The features and the outputs, float32."""
        with autocast(images.device):
            found = self.features(images)
            return found.float(), self.last(found).float()


def learned_informed(images: Tensor, answers: Tensor, *, latent: int, width: int, steps: int, seed: int) -> Informed:
    """Train a generator of images like these with a critic that knows the answers to them, in eval mode.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        answers: ``(N, classes)``: the probabilities that the model under attack gives each.
        latent: Length of a latent vector.
        width: Channels of generator and critic at full resolution.
        steps: Steps of the generator without the critic; a quarter as many follow against it.
        seed: Seed of every random choice.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = Informed(latent, width, tuple(images.shape[1:]), answers.shape[1]).to(images.device)
    random = torch.Generator().manual_seed(seed)
    wgan.reconstruct(prior.generator, images, wgan.codes(images, latent, random), steps, random)
    train(prior, images, answers, steps // 4, random)
    return prior.eval()


def train(prior: Informed, images: Tensor, answers: Tensor, steps: int, random: torch.Generator) -> None:
    """Train both against each other, with as many steps of the critic alone first."""
    generator, critic = prior.generator, prior.critic
    generator_adam = torch.optim.Adam(generator.parameters(), LR, betas=BETAS)
    critic_adam = torch.optim.Adam(critic.parameters(), LR, betas=BETAS)
    mean = AveragedModel(generator, use_buffers=True)
    prior.train()

    def drawn() -> Tensor:
        return torch.randint(len(images), (wgan.BATCH,), generator=random).to(images.device)

    def generated() -> Tensor:
        with autocast(images.device):
            made: Tensor = generator(prior.sample(wgan.BATCH, None, random)).float()
        return made

    for step in track(range(steps), "training the generator against its informed critic"):
        for _ in range(N_CRITIC if step else N_CRITIC + steps):
            rows = drawn()
            with torch.no_grad():
                made = generated()
            real, fake = critic.both(images[rows])[1], critic.both(made)[1]
            odds = softplus(-real.logsumexp(1)).mean() + softplus(fake.logsumexp(1)).mean()
            critic_adam.zero_grad()
            (cross_entropy(real, answers[rows]) + odds / 2).backward(inputs=list(critic.parameters()))
            critic_adam.step()
        with torch.no_grad():
            real_features = critic.both(images[drawn()])[0].mean(0)
        features, outputs = critic.both(generated())
        entropy = -(outputs.softmax(1) * outputs.log_softmax(1)).sum(1).mean()
        loss = (features.mean(0) - real_features).norm() + ENTROPY * entropy
        generator_adam.zero_grad()
        loss.backward(inputs=list(generator.parameters()))
        generator_adam.step()
        if step >= steps // 2:
            mean.update_parameters(generator)
    if steps:
        generator.load_state_dict(mean.module.state_dict())
