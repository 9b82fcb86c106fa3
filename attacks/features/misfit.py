"""The distance between a guess's smashed data and what arrived: the term that a white-box attack minimizes.

The plain sum of squares follows the strongest directions of the head and hardly notices the faint ones. A defense that
only makes them faint (a small Lipschitz constant, say) then looks strong because the descent is slow: its gradient is
masked, the picture is not gone (Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML
2018). So the difference can be rescaled before it is squared. Where head(x) = J x, the misfit |W J dx|^2 has the
curvature J'W'WJ, and W = (JJ')^-1/2 makes it the identity: every pixel is found equally fast. We estimate JJ' between
channels, as the covariance of what white noise in the pixels changes in what arrives; the noise of a random defense is
part of it, so that directions which hold nothing else are not magnified.

``plain``
    As the papers do: one scale for all values.
``channel``
    Each channel divided by the standard deviation of its response.
``whitened``
    Multiplied by the inverse square root of the covariance of the responses, so that no mixture of channels is faint.
``survivors``
    The head's own output, without the defense, compared where what arrived is not zero: the values that dropout and
    top-k sent. With additive noise that is every value, and the misfit is maximum likelihood without a draw.
``likelihood``
    The density that a defense with additive noise states of its releases (`cutlayer.defenses.shared.density`), negative
    and logarithmic: Laplacian noise is compared by absolute differences, noise of several sizes in units of each.
``cosine``
    One minus the cosine between the two, as attacks with a generative prior do (DRAG, Lei et al., ICML 2025).
"""

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from cutlayer.attacks.queries import release
from cutlayer.attacks.view import View
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.nets.grid import channel_axis

MISFITS = ("plain", "channel", "whitened", "survivors", "likelihood", "cosine")
PRECONDITIONED = ("channel", "whitened")

NUDGE = 0.05
"""Standard deviation of the noise to which the response is measured, in pixel units."""
FAINT = 1e-10
"""Variance, relative to the largest, below which a direction holds nothing but the rounding of float32."""

Scaling = Callable[[Tensor], Tensor]
"""Differences of smashed data, ``(N, *smashed.shape)``, to comparable units; same shape out."""


class Misfit:
    """The misfits of guesses to what arrived, for one attacker.

    Args:
        kinds: Some of `MISFITS`.
        images: ``(N, C, H, W)``, the attacker's own, from which the scales are measured; they are queried.
        view: What the attacker may touch; white-box.
        draws: Draws of a random defense for each comparison.

    Attributes:
        smashed: What arrived for these images, ``(N, *smashed.shape)``.
        scalings: The scaling of each kind.
    """

    def __init__(self, kinds: Sequence[str], images: Tensor, view: View, draws: int = 1) -> None:
        noise = torch.empty(images.shape).normal_(0, NUDGE, generator=torch.Generator().manual_seed(view.seed))
        self.smashed, nudged = (release(view.query, images.cpu() + change, view.device) for change in (0, noise))
        self.scalings = {kind: scaling(kind, self.smashed, nudged - self.smashed) for kind in kinds}
        self._protect = functools.partial(view.defense.protect, rng=np.random.default_rng(view.seed))
        self._defense, self._draws = view.defense, draws if view.random else 1
        if "likelihood" in kinds and not has_likelihood(view.defense, self.smashed):
            raise ConfigError(
                f"{view.defense!r} states no density of what arrives, which the misfit 'likelihood' needs; use another "
                f"one of {', '.join(MISFITS)}."
            )

    def __call__(self, kind: str, output: Tensor, releases: Iterable[Tensor]) -> Tensor:
        """Mean squared difference to what was received, scaled, over releases and draws of the defense, ``(N,)``.

        Args:
            kind: One of the kinds.
            output: ``(N, *smashed.shape)``, the output of the head for the guesses.
            releases: What arrived, ``(N, *smashed.shape)`` each.
        """
        if kind == "likelihood":
            density = self._defense.density(output)
            assert density is not None, "it was there when the misfit was made"
            size = output[0].numel() / 2  # with Gaussian noise this is then the mean squared difference, in deviations
            return torch.stack([-density.log_density_of_own(smashed) / size for smashed in releases]).mean(dim=0)
        each = tuple(range(1, output.ndim))  # flattening would undo the memory layout
        if kind == "cosine":
            pairs = [(self._protect(output), smashed) for smashed in releases for _ in range(self._draws)]
            return torch.stack([1 - _cosine(*pair, each) for pair in pairs]).mean(dim=0)
        scale, draws = self.scalings[kind], 1 if kind == "survivors" else self._draws
        misfits = [
            scale(difference(kind, output, self._protect, smashed)).square().mean(each)
            for smashed in releases
            for _ in range(draws)
        ]
        return torch.stack(misfits).mean(dim=0)

    def unexplained(self, output: Tensor, releases: Iterable[Tensor]) -> Tensor:
        """What arrived, the mean over releases, minus what the guesses would have sent, ``(N, *smashed.shape)``."""
        if has_likelihood(self._defense, output):
            density = self._defense.density(output)
            assert density is not None
            return torch.stack([smashed - density.mean for smashed in releases]).mean(dim=0)
        kind = suitable(self._defense, output)[-1]
        return -torch.stack([difference(kind, output, self._protect, smashed) for smashed in releases]).mean(dim=0)


def has_likelihood(defense: Defense, smashed: Tensor) -> bool:
    """Whether the defense states the density of what arrives, for smashed data such as this."""
    density = defense.density(smashed)
    return density is not None and density.exact


def suitable(defense: Defense, smashed: Tensor) -> tuple[str, ...]:
    """The misfits that suit a defense, whose smashed data this is."""
    if has_likelihood(defense, smashed):
        return ("whitened", "likelihood")
    return ("whitened", "survivors") if any(part.sends_zeros for part in defense.parts) else ("whitened",)


def scaling(kind: str, smashed: Tensor, response: Tensor) -> Scaling:
    """The scaling of one of `MISFITS`, from what arrives for the attacker's own images.

    Args:
        kind: One of `MISFITS`.
        smashed: ``(N, *smashed.shape)``; after the scaling its variance is 1.
        response: ``(N, *smashed.shape)``, the change of `smashed` where white noise is added to the images.
    """
    axis = channel_axis(tuple(smashed.shape[1:])) + 1
    values = response.movedim(axis, -1).reshape(-1, smashed.shape[axis]).double().cpu()  # mps has no float64
    if kind == "channel":
        factor = _inverse_root(values.square().mean(dim=0)).view(-1, *[1] * (smashed.ndim - axis - 1)).to(smashed)
        return _to_unit_variance(lambda change: change * factor, smashed)
    if kind == "whitened":
        variance, directions = torch.linalg.eigh(values.T @ values / len(values))
        whitening = (directions * _inverse_root(variance)).to(smashed)
        return _to_unit_variance(lambda change: (change.movedim(axis, -1) @ whitening).movedim(-1, axis), smashed)
    return _to_unit_variance(lambda change: change, smashed)


def _inverse_root(variance: Tensor) -> Tensor:
    """1 / sqrt(variance), and 0 where nothing varies."""
    return torch.where(variance > FAINT * variance.max(), variance.rsqrt(), 0.0)


def _to_unit_variance(scale: Scaling, smashed: Tensor) -> Scaling:
    spread = scale(smashed).var().clamp(min=1e-12).sqrt()
    return lambda change: scale(change) / spread


def _cosine(a: Tensor, b: Tensor, each: tuple[int, ...]) -> Tensor:
    """The cosine between the smashed data of each input, ``(N,)``; 0 where one of the two is nothing."""
    product: Tensor = (a * b).sum(each) / (a.square().sum(each) * b.square().sum(each)).clamp(min=1e-24).sqrt()
    return product


def difference(kind: str, output: Tensor, protect: Callable[[Tensor], Tensor], smashed: Tensor) -> Tensor:
    """The smashed data of a guess minus what arrived, before scaling.

    Args:
        kind: One of `MISFITS`.
        output: ``(N, *smashed.shape)``, the output of the head for the guess.
        protect: The defense, with draws of the attacker's own.
        smashed: ``(N, *smashed.shape)``, what arrived.
    """
    if kind != "survivors":
        return protect(output) - smashed
    survived = smashed != 0
    share = survived.flatten(1).float().mean(dim=1).clamp(min=1 / survived[0].numel())
    return (output - smashed) * survived / share.sqrt().view(-1, *[1] * (smashed.ndim - 1))
