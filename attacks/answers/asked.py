"""Questions about the images of a prior. Each image that is asked about counts, whatever it is asked for."""

import torch
from torch import Tensor

from cutlayer.attacks.answers.view import BATCH, ClassView
from cutlayer.defenses.answers.base import UNTOLD
from cutlayer.nets.priors import Prior


def images(prior: Prior, z: Tensor) -> Tensor:
    """The images of latent vectors ``(..., latent)``, ``(..., *image)`` float32 in [0, 1] on the CPU."""
    flat = z.flatten(0, -2).to(prior.device)
    with torch.no_grad():
        made = torch.cat([prior.image(part).float().clamp(0, 1).cpu() for part in flat.split(BATCH)])
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
