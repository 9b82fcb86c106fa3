"""The priors that attacks on answers name in their options, each made of what the attacker has."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cutlayer.attacks.answers import taught
from cutlayer.attacks.answers.view import ClassView
from cutlayer.errors import ConfigError, near
from cutlayer.nets.answered import learned_answered
from cutlayer.nets.priors import Linear, Pixels, Prior, learned_wgan


def prior_of(view: ClassView, name: str, *, latent: int = 64, width: int = 8, steps: int = 800) -> Prior:
    """The prior of this name, in evaluation mode on `view.device`; the attacks of one study share it.

    Args:
        view: What the attacker may touch: priors learn from `view.auxiliary`, and some ask `view.service`.
        name: A name in `PRIORS`.
        latent: Length of a latent vector, or the most that the prior can have.
        width: Channels of networks at full resolution.
        steps: Training steps.

    Raises:
        ConfigError: There is no such prior, or it cannot be made of such inputs.
        WithheldError: The view withholds what the prior needs.
    """
    if name not in PRIORS:
        raise ConfigError(f"There is no prior named {name!r:.80}; {near(name, PRIORS)}")

    def make() -> Prior:
        return PRIORS[name](view, latent, width, steps).to(view.device).eval().requires_grad_(False)

    return view.kept(("prior", name, latent, width, steps), make)


def images_of(view: ClassView, name: str) -> Tensor:
    """The attacker's own images, ``(N, C, H, W)`` in [0, 1], on `view.device`.

    Raises:
        ConfigError: The inputs are no images, or there are fewer than two.
    """
    if len(view.input.shape) != 3 or (view.input.low, view.input.high) != (0, 1):
        raise ConfigError(
            f"The prior {name!r} makes images (C, H, W) in [0, 1], and the victim takes {view.input} between "
            f"{view.input.low} and {view.input.high}; run it on images."
        )
    if len(view.auxiliary) < 2:
        raise ConfigError(
            f"The prior {name!r} learns from the attacker's own images, and {len(view.auxiliary)} is too few; "
            "two are the least, and some hundreds are useful."
        )
    return torch.from_numpy(view.auxiliary.inputs).to(view.device)


def _conditional(view: ClassView, latent: int, width: int, steps: int) -> Prior:
    return taught.conditional(view, images_of(view, "conditional"), latent, width, steps)


def _answered(view: ClassView, latent: int, width: int, steps: int) -> Prior:
    def answer(images: Tensor) -> Tensor:
        return view.service.labels(images.cpu()).to(images.device)

    sizes = {"latent": latent, "width": width, "steps": steps, "seed": view.seed}
    return learned_answered(images_of(view, "answered"), view.classes, answer, **sizes)


def _ensemble(view: ClassView, latent: int, width: int, steps: int) -> Prior:
    return taught.ensemble(view, latent, width, steps)


def _informed(view: ClassView, latent: int, width: int, steps: int) -> Prior:
    return taught.informed(view, images_of(view, "informed"), latent, width, steps)


def _patch(view: ClassView, latent: int, width: int, steps: int) -> Prior:
    return taught.patch(view, images_of(view, "patch"), latent, width, steps)


def _pixels(view: ClassView, latent: int, width: int, steps: int) -> Prior:
    return Pixels(torch.full_like(images_of(view, "pixels")[0], 0.5))


def _mean_image(view: ClassView, latent: int, width: int, steps: int) -> Prior:
    return Pixels(images_of(view, "mean-image").mean(0))


def _linear(view: ClassView, latent: int, width: int, steps: int) -> Prior:
    return Linear(images_of(view, "linear"), latent)


def _wgan(view: ClassView, latent: int, width: int, steps: int) -> Prior:
    return learned_wgan(images_of(view, "wgan"), latent=latent, width=width, steps=steps, seed=view.seed)


PRIORS: dict[str, Callable[[ClassView, int, int, int], Prior]] = {
    "answered": _answered,
    "conditional": _conditional,
    "ensemble": _ensemble,
    "informed": _informed,
    "linear": _linear,
    "mean-image": _mean_image,
    "patch": _patch,
    "pixels": _pixels,
    "wgan": _wgan,
}
"""From a view, the length of a latent vector, channels and training steps."""
TAUGHT = frozenset({"conditional", "ensemble", "informed", "patch"})
"""Those that the network in the attacker's hands helps to learn."""
