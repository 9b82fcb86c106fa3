"""A generator of classes that learns from the labels that somebody else gives its own images (T-ACGAN).

    critic:     min  E BCE(D(x), 1) + E BCE(D(G(z, y)), 0) + CLASS E CE(C(G(z, y)), label of G(z, y))
    generator:  min  E BCE(D(G(z, y)), 1) + CLASS E CE(C(G(z, y)), y),      z ~ N(0, I), y uniform

B.-N. Nguyen, K. Chandrasegaran, M. Abdollahzadeh, N.-M. Cheung, "Label-Only Model Inversion Attacks via Knowledge
Transfer", NeurIPS 2023, https://arxiv.org/abs/2310.19342. No image of the classes is needed, and the classifier C is
an imitation of who gives the labels. Settings as in their code, ngoc-nguyen-0/LOKT_neurips2023 at b751417: CLASS 1.5,
Adam with betas 0 and 0.9, batches of 64, no classes in the first steps.

Differs from theirs: the generator first learns to generate each image from its whitened principal components, as in
`cutlayer.nets.wgan`, of whatever class; their 20,000 steps are too many here, and the learning rate is five times
theirs. The critic takes 2 steps (theirs: 5) for each of the generator's, and the mean of the generator's weights over
the last half of its steps is kept.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel

from cutlayer.machine.compute import autocast
from cutlayer.nets import wgan
from cutlayer.nets.conditional import Conditional, reconstruct
from cutlayer.progress import track

Answer = Callable[[Tensor], Tensor]
"""Images ``(N, C, H, W)`` to the classes that they are taken for, ``(N,)``, on the images' device."""
LR, BETAS, N_CRITIC, CLASS = 1e-3, (0.0, 0.9), 2, 1.5
UNNAMED = 1 / 3
"""Share of the critic's steps, the first ones, in which nobody is asked for classes."""


class Critic(nn.Module):
    """Images ``(N, C, H, W)`` to scores ``(N,)``, high for real ones, and logits ``(N, classes)``."""

    def __init__(self, width: int, image: tuple[int, ...], classes: int) -> None:
        super().__init__()
        *layers, last = wgan.critic(width, image)
        assert isinstance(last, nn.Linear)
        self.features = nn.Sequential(*(spectral_norm(m) if isinstance(m, nn.Conv2d) else m for m in layers))
        self.score, self.named = spectral_norm(nn.Linear(last.in_features, 1)), nn.Linear(last.in_features, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score images, and name their classes."""
        found = self.features(images)
        return self.score(found).squeeze(1), self.named(found)


def questions(steps: int) -> int:
    """The number of images that `learned_answered` asks about in so many steps of the critic."""
    return wgan.BATCH * (steps - int(UNNAMED * steps))


def affordable(n: int) -> int:
    """The greatest number of steps of which `questions` is no more than n."""
    steps = int(max(0, n // wgan.BATCH) / (1 - UNNAMED))
    while questions(steps) > max(0, n):
        steps -= 1
    return steps


def learned_answered(
    images: Tensor,
    classes: int,
    answer: Answer,
    *,
    latent: int,
    width: int,
    steps: int,
    seed: int,
    lr: float = LR,
) -> Conditional:
    """Train a generator of classes, in eval mode.

    Args:
        images: ``(N, C, H, W)`` in [0, 1], of whatever classes.
        classes: Number of classes.
        answer: Who names generated images, `questions` of them.
        latent: Length of a latent vector.
        width: Channels of generator and critic at full resolution.
        steps: Steps of the critic, each second of which is followed by one of the generator. Half as many of the
            generator come before.
        seed: Seed of every random choice.
        lr: Learning rate of both.
    """
    image = tuple(images.shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = Conditional(latent, width, image, classes).to(images.device)
        critic = Critic(2 * width, image, classes).to(images.device)
    random = torch.Generator().manual_seed(seed)
    anything = torch.randint(classes, (len(images),), generator=random).to(images.device)
    reconstruct(prior, images, anything, steps // 2, random)
    prior_adam = torch.optim.Adam(prior.parameters(), lr, betas=BETAS)
    critic_adam = torch.optim.Adam(critic.parameters(), lr, betas=BETAS)
    mean = AveragedModel(prior, use_buffers=True)
    prior.train()

    def generated() -> tuple[Tensor, Tensor]:
        y = torch.randint(classes, (wgan.BATCH,), generator=random).to(images.device)
        with autocast(images.device):
            return prior(prior.sample(wgan.BATCH, y, random), y).float(), y

    def seen(pictures: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(images.device):
            score, named = critic(pictures)
        return score.float(), named.float()

    for step in track(range(steps), "training the generator by answers"):
        real = images[torch.randint(len(images), (wgan.BATCH,), generator=random).to(images.device)]
        with torch.no_grad():
            made, _ = generated()
        (of_real, _), (of_made, named) = seen(real), seen(made)
        asks = step >= int(UNNAMED * steps)
        loss = _told(of_real, True) + _told(of_made, False)
        if asks:
            loss = loss + CLASS * cross_entropy(named, answer(made))
        _step(critic_adam, loss)
        if step % N_CRITIC:
            continue
        made, y = generated()
        score, named = seen(made)
        _step(prior_adam, _told(score, True) + (CLASS * cross_entropy(named, y) if asks else 0))
        if step >= steps // 2:
            mean.update_parameters(prior)
    if steps:
        prior.load_state_dict(mean.module.state_dict())
    return prior.eval()


def _told(score: Tensor, real: bool) -> Tensor:
    return binary_cross_entropy_with_logits(score, torch.full_like(score, float(real)))


def _step(adam: torch.optim.Optimizer, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward(inputs=adam.param_groups[0]["params"])
    adam.step()
