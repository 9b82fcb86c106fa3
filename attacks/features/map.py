"""Maximum a posteriori: search through the head for the image that explains what arrived and is likely besides.

    x* = argmin  misfit(head(x), v)  +  weight * |u|^2,      x = d(v) + B u

A decoder d gives the picture that is likely, and ignores part of what arrived. A search through the head finds a
picture that explains all of it, and is lost where the head tells little. Together each does what the other cannot. The
residuals of d on images of the attacker's own say where, and in which frequencies, d errs: B B' is their covariance
(`cutlayer.nets.residual_prior`), so that the search corrects what d does not know and leaves what it knows.

The principle is that of inverse problems: with additive noise the minimum is the most likely image (Bouman, Sauer, "A
Generalized Gaussian Image Model for Edge-Preserving MAP Estimation", IEEE TIP, 1993). Misfits are those of
`cutlayer.attacks.features.misfit`. Threat model: the attacker holds the head's weights and the defense's code and
settings, not its random draws, and images like the victims'.

Misfit and weight are chosen on images of the attacker's own that d has not seen, in whole groups. So is whether to
search at all: where no search comes nearer to those images than d does, the attack answers as d does.

Where the defense rounds, gradients pass through the rounding as the defense says; where it leaves values out, the
misfit ``survivors`` compares those that arrived.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from cutlayer.attacks.base import Attack, fitted
from cutlayer.attacks.features.misfit import MISFITS, PRECONDITIONED, Misfit
from cutlayer.attacks.features.white_box import freeze, remaining
from cutlayer.attacks.queries import apart, release
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.nets.residual_prior import ResidualPrior
from cutlayer.options import Count, LearningRate, Share, Weight
from cutlayer.progress import track
from cutlayer.registry import ATTACKS

CHUNK = 256
"""Images searched together."""
BETAS = (0.9, 0.99)
"""Adam's decay rates."""


@dataclass(kw_only=True)
class Map(Attack):
    """Refine the pictures of another attack through the head, with the errors of that attack as prior.

    Args:
        attack: Name of the attack that gives the pictures to begin with.
        options: Options of that attack; None for its defaults.
        iterations: Adam steps.
        lr: Adam's learning rate, in standard deviations of the residuals.
        weight: Weights of the prior to rehearse; the misfit has a variance of 1 where nothing is known.
        misfit: Ways to rehearse of comparing smashed data; see `cutlayer.attacks.features.misfit`.
        held_out: Share of the attacker's images on which the residuals are measured and the settings chosen.
        rehearsal: Images inverted with every setting to choose one.
    """

    plain_words = "corrects a decoder's picture until it would have sent the same numbers"
    needs = Access.WHITE_BOX
    steps_option = "iterations"
    least_steps = 20

    attack: str = "decoder"
    options: dict[str, Any] | None = None
    iterations: Count = 100
    lr: LearningRate = 0.1
    weight: tuple[Weight, ...] = (1e-3, 1e-2, 1e-1, 1.0)
    misfit: tuple[str, ...] = ("plain", "whitened")
    held_out: Share = 0.1
    rehearsal: Count = 32

    def __post_init__(self) -> None:
        if unknown := set(self.misfit) - set(MISFITS):
            raise ConfigError(f"map.misfit must be of {', '.join(MISFITS)}, not {min(unknown)!r}.")
        self.weight, self.misfit = tuple(self.weight), tuple(self.misfit)  # TOML writes lists
        self._start: Attack = ATTACKS.make(self.attack, **(self.options or {}))
        self.n_releases = self._start.n_releases  # the search explains all that the first attack observes

    @property
    def decoders(self) -> tuple[str, ...]:
        """Those of the first attack."""
        return self._start.decoders

    @property
    def rescales_misfit(self) -> bool:
        """Whether one of the misfits to rehearse is rescaled."""
        return not set(self.misfit).isdisjoint(PRECONDITIONED)

    @property
    def parts(self) -> tuple[Attack, ...]:
        """This attack and the one that it begins with."""
        return (self, *self._start.parts)

    def fit(self, view: View) -> None:
        """Fit the first attack, measure its residuals on images that it has not seen, and choose the setting."""
        rest, images = apart(view, self.held_out)
        self._device, images = view.device, images.to(view.device)
        rehearsed = fitted(ATTACKS.make(self.attack, **(self.options or {})), rest)
        self._head = freeze(view.head).to(view.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._misfit = Misfit(self.misfit, images[:CHUNK], view)
        releases = torch.stack([release(view.query, images.cpu(), view.device) for _ in range(self.n_releases)])
        starts = rehearsed.invert_releases(releases)
        self._prior = ResidualPrior(images - starts)
        self._setting = self._rehearse(
            *(part[: self.rehearsal] for part in (images, starts)), releases[:, : self.rehearsal]
        )
        self._start = fitted(self._start, view)

    def _rehearse(self, images: Tensor, starts: Tensor, releases: Tensor) -> tuple[str, float] | None:
        """The setting that comes nearest to images that the attacker knows; None where the first attack does."""
        errors: dict[tuple[str, float] | None, float] = {None: float(mse_loss(starts, images))}
        n = len(self.weight)
        weights = torch.tensor(self.weight).repeat_interleave(len(images)).to(starts)
        many = releases.repeat(1, n, *[1] * (releases.ndim - 2))
        for kind in self.misfit:
            guesses = self._search(many, starts.repeat(n, 1, 1, 1), kind, weights).reshape(n, *images.shape)
            for weight, guess in zip(self.weight, guesses, strict=True):
                errors[kind, weight] = float(mse_loss(guess, images))
        return min(errors, key=lambda setting: errors[setting])

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        return self.invert_releases(smashed[None])

    def invert_releases(self, releases: Tensor) -> Tensor:
        """``(n_releases, N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        observed = releases.to(self._device)
        starts = self._start.invert_releases(observed)
        if self._setting is not None:
            kind, weight = self._setting
            starts = self._search(observed, starts, kind, torch.full((len(starts),), weight).to(starts))
        return starts.to(releases.device)

    def _search(self, releases: Tensor, starts: Tensor, kind: str, weight: Tensor) -> Tensor:
        parts = zip(releases.split(CHUNK, dim=1), starts.split(CHUNK), weight.split(CHUNK), strict=True)
        return torch.cat([self._optimize(observed, start, kind, each) for observed, start, each in parts])

    def _optimize(self, releases: Tensor, start: Tensor, kind: str, weight: Tensor) -> Tensor:
        """Run Adam on the coefficients of one batch; each image has its own weight of the prior, ``(N,)``."""
        u = torch.zeros_like(start).requires_grad_()
        optimizer = torch.optim.Adam([u], self.lr, BETAS)
        for step in track(range(self.iterations), "searching the images"):
            optimizer.param_groups[0]["lr"] = self.lr * remaining(step, self.iterations)
            x = start + self._prior.image(u)
            x = x + (x.clamp(0, 1) - x).detach()  # the head sees an image, and no gradient is lost at its bounds
            loss = self._misfit(kind, self._head(x), releases) + weight * u.square().flatten(1).mean(1)
            (u.grad,) = torch.autograd.grad(loss.sum(), u)
            optimizer.step()
        return (start + self._prior.image(u.detach())).clamp(0, 1)
