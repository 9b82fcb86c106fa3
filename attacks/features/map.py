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

Misfit and weight are chosen on images of the attacker's own that d has not learned from. So is whether to
search at all: where no search comes nearer to those images than d does, the attack answers as d does.

Where the defense rounds, gradients pass through the rounding as the defense says; where it leaves values out, the
misfit ``survivors`` compares those that arrived.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.base import fitted
from cutlayer.attacks.features.misfit import MISFITS, PRECONDITIONED, Misfit, suitable
from cutlayer.attacks.features.white_box import freeze, remaining
from cutlayer.attacks.queries import squared_errors, surely_less
from cutlayer.attacks.view import Access, View
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.errors import ConfigError
from cutlayer.nets.residual_prior import ResidualPrior
from cutlayer.options import Count, LearningRate
from cutlayer.progress import track

CHUNK = 256
"""Images searched together."""
MEASURED = 512
"""Images, at most, on which the residuals are measured."""
START, MOST, LEAST = -1, 3, -9
"""Weights of the prior are 10^k, where the misfit of a guess that knows nothing is 1; the walk begins at k = -1."""
BETAS = (0.9, 0.99)
"""Adam's decay rates."""


@dataclass(kw_only=True)
class Map(Wrapping):
    """Refine the pictures of another attack through the head, with the errors of that attack as prior.

    Args:
        attack: Name of the attack that gives the pictures to begin with.
        options: Options of that attack; None for its defaults.
        iterations: Adam steps.
        lr: Adam's learning rate, in standard deviations of the residuals.
        misfit: Ways to rehearse of comparing smashed data; see `cutlayer.attacks.features.misfit`. If empty,
            ``whitened``, and what suits the defense: ``likelihood`` or ``survivors``.
        rehearsal: Images inverted with every setting to choose one.
    """

    plain_words = "corrects a decoder's picture until it would have sent the same numbers"
    rebuilds = ("image",)
    needs = Access.WHITE_BOX
    steps_option = "iterations"
    least_steps = 20

    iterations: Count = 100
    lr: LearningRate = 0.3
    misfit: tuple[str, ...] = ()
    rehearsal: Count = 64

    def __post_init__(self) -> None:
        if unknown := set(self.misfit) - set(MISFITS):
            raise ConfigError(f"map.misfit must be of {', '.join(MISFITS)}, not {min(unknown)!r}.")
        self.misfit = tuple(self.misfit)  # TOML writes lists
        super().__post_init__()

    @property
    def rescales_misfit(self) -> bool:
        """Whether one of the misfits to rehearse is rescaled."""
        return not self.misfit or not set(self.misfit).isdisjoint(PRECONDITIONED)

    def fit(self, view: View) -> None:
        """Fit the first attack, measure its errors on images that it has not learned from, and choose the setting."""
        self._device, self._head = view.device, freeze(view.head).to(view.device)
        images, starts, releases = self.rehearsed(view, MEASURED)
        kinds = self.misfit or suitable(view.defense, releases[0])
        self._misfit = Misfit(kinds, images[:CHUNK], view)
        self._prior = ResidualPrior(images - starts)
        few = slice(self.rehearsal)
        self._setting = self._rehearse(kinds, images[few], starts[few], releases[:, few])
        self._inner = fitted(self._inner, view)

    def _rehearse(
        self, kinds: Sequence[str], images: Tensor, starts: Tensor, releases: Tensor
    ) -> tuple[str, float] | None:
        """The misfit and weight that come nearest to images that the attacker knows.

        None where none of them is surely better than the first attack alone.
        """
        errors: dict[tuple[str, float], Tensor] = {}
        alone = squared_errors(starts, images)

        def error(kind: str, exponent: float) -> float:
            weight = torch.full((len(images),), 10.0**exponent).to(starts)
            guess = self._search(releases, starts, kind, weight)
            errors[kind, exponent] = squared_errors(guess, images)
            return float(errors[kind, exponent].mean())

        for kind in kinds:
            best, least = START, error(kind, START)
            for step in (-1, 1):
                while LEAST <= best + step <= MOST and (tried := error(kind, best + step)) < least:
                    best, least = best + step, tried
                if best != START:
                    break
            for between in (best - 0.5, best + 0.5):
                error(kind, between)
        kind, exponent = min(errors, key=lambda setting: float(errors[setting].mean()))
        return (kind, 10.0**exponent) if surely_less(errors[kind, exponent], alone) else None

    def invert_releases(self, releases: Tensor) -> Tensor:
        """``(n_releases, N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        observed = releases.to(self._device)
        starts = self._inner.invert_releases(observed)
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
