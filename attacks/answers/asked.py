"""Questions about the images of a prior. Each image that is asked about counts, whatever it is asked for."""

from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor

from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.prior_of import PRIORS, prior_of
from cutlayer.attacks.answers.view import BATCH, ClassView
from cutlayer.defenses.answers.base import UNTOLD
from cutlayer.errors import ConfigError, near
from cutlayer.nets.priors import Prior
from cutlayer.options import Size, Whole


@dataclass(kw_only=True)
class Asking(ClassAttack):
    """Base of the attacks that only ask about images of a prior.

    Args:
        prior: Name of the prior, see `cutlayer.attacks.answers.prior_of.PRIORS`; one that knows nothing of classes.
        latent: Length of a latent vector, or the most that the prior can have.
        width: Channels of the prior's networks at full resolution.
        prior_steps: Training steps of the prior.
    """

    prior: str = "wgan"
    latent: Size = 64
    width: Size = 8
    prior_steps: Whole = 800

    def __post_init__(self) -> None:
        if self.prior not in PRIORS:
            raise ConfigError(f"There is no prior named {self.prior!r:.80}; {near(self.prior, PRIORS)}")

    def made_prior(self, view: ClassView) -> Prior:
        """The prior whose images are asked about.

        Raises:
            ConfigError: It makes images of a class that must be stated.
        """
        prior = prior_of(view, self.prior, latent=self.latent, width=self.width, steps=self.prior_steps)
        if prior.conditional:
            raise ConfigError(f"The prior {self.prior!r} makes images of stated classes; take wgan, linear or pixels.")
        return prior


def images(prior: Prior, z: Tensor, y: Tensor | None = None) -> Tensor:
    """The images of latent vectors ``(..., latent)``, ``(..., *image)`` float32 in [0, 1] on the CPU.

    Args:
        prior: Makes them.
        z: The latent vectors.
        y: Their classes, ``(N,)`` for latent vectors ``(N, latent)``, where the prior knows of classes.
    """
    flat = z.flatten(0, -2).to(prior.device)
    parts = zip(flat.split(BATCH), (y.split(BATCH) if y is not None else repeat(None)), strict=False)
    with torch.no_grad():
        made = torch.cat([prior.image(part, of).float().clamp(0, 1).cpu() for part, of in parts])
    return _shaped(made, z)


def scores(view: ClassView, prior: Prior, z: Tensor, answers: int = 1) -> Tensor:
    """The log-probabilities ``(..., classes)`` of the images of latent vectors ``(..., latent)``, on the CPU.

    Each image is asked about `answers` times, and the probabilities are averaged.
    """
    asked_about = images(prior, z.flatten(0, -2))
    said = [view.service.scores(asked_about).cpu() for _ in range(answers)]
    return _shaped(said[0] if answers == 1 else torch.stack(said).exp().mean(0).log().clamp(min=UNTOLD), z)


def labels(view: ClassView, prior: Prior, z: Tensor) -> Tensor:
    """The classes ``(...)`` of the images of latent vectors ``(..., latent)``, on the CPU."""
    return _shaped(view.service.labels(images(prior, z.flatten(0, -2))).cpu(), z)


def within(view: ClassView, share: float, most: int, least: int = 1) -> int:
    """How many questions a part of an attack may take: `share` of those that are left, within `least` and `most`.

    A part that needs `least` asks them whatever is left, and the service refuses where that is too many.
    """
    left = view.service.left
    return most if left == float("inf") else max(least, min(most, int(share * left)))


def _shaped(rows: Tensor, z: Tensor) -> Tensor:
    return rows.view(*z.shape[:-1], *rows.shape[1:])
