"""The density of a release: what an attacker who knows the head and the defense can say of each candidate.

A defense that adds noise states it by `Defense.density`. Whoever holds it computes the likelihood of each candidate:
the ceiling (`cutlayer.privacy.ceiling`), the white-box watch list, and the attack that follows the likelihood. Torch is
imported inside the functions, because the device runs without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Generator, Tensor

VALUES = 1 << 22
"""Numbers that are held in float64 at a time, so that memory stays small for any size of the smashed data."""


@dataclass(frozen=True)
class Density:
    """The law of one release of each of M inputs: every element is drawn by itself, around a mean of its own.

    Attributes:
        family: The density of an element. With the scale s and the distance t from the mean it is
            ``exp(-t^2 / (2 s^2)) / (s sqrt(2 pi))`` ("gaussian") or ``exp(-|t| / s) / (2 s)`` ("laplace").
        mean: ``(M, *shape)``, a numpy array or a torch tensor, as the smashed data was.
        scale: A number, or what broadcasts to `mean`, above 0; with "laplace" the same for all inputs.
        exact: Whether this is the law of what arrives, but for rounding. Otherwise a later step of the defense changes
            what this law describes, and does not depend on the input in any other way. What arrives then tells the
            inputs apart no better than a draw of this law (data processing), so a ceiling holds all the same, but the
            likelihood of what arrives is another.
    """

    family: Literal["gaussian", "laplace"]
    mean: Any
    scale: Any
    exact: bool = True

    @property
    def same_scale(self) -> bool:
        """Whether the scale is the same for all inputs; it may differ between elements."""
        scale = self.scale
        return bool(getattr(scale, "ndim", 0) < self.mean.ndim or scale.shape[0] == 1)

    def log_density(self, released: Tensor) -> Tensor:
        """The log density of each of N releases for each of the M inputs, in nats.

        Constants are part of it. Sums are in float64 (in float32 on a device without it).

        Args:
            released: ``(N, *shape)``.

        Returns:
            ``(N, M)`` on the device of `released`.
        """
        return self.log_density_of_releases(released[None])

    def log_density_of_releases(self, releases: Tensor) -> Tensor:
        """The same for several independent releases of each input together: the sum over them.

        Args:
            releases: ``(n_releases, N, *shape)``.

        Returns:
            ``(N, M)`` on the device of `releases`.

        Raises:
            ValueError: The scale of a Laplace density differs between inputs.
        """
        import torch

        if self.family == "laplace" and not self.same_scale:
            raise ValueError("the scale of a Laplace density must be the same for all inputs")
        n, n_inputs, dtype = len(releases), releases.shape[1], _accurate(releases)
        total = torch.zeros(n_inputs, len(self.mean), dtype=dtype, device=releases.device)
        for arrived, mean, scale in self._parts(releases):
            # Near 0 a float64 holds the small differences between products of large numbers.
            center = mean.mean(0)
            arrived, mean = (arrived - center) / scale[:1], (mean - center) / scale[:1]
            if self.family == "laplace":
                for release in arrived:
                    total -= torch.cdist(release, mean, p=1)
            else:
                precision = (scale[:1] / scale).square()  # ones where the scale is the same for all
                total -= torch.addmm(
                    n * (mean.square() * precision).sum(1) + arrived.square().sum(0) @ precision.T,
                    arrived.sum(0), (mean * precision).T, alpha=-2,
                ) / 2  # fmt: skip
            total -= n * (_log_norm(self.family) + scale.log()).sum(1)
        return total

    def log_density_of_own(self, released: Tensor) -> Tensor:
        """The log density of each of M releases for the input in its own row, ``(M, *shape)`` -> ``(M,)``.

        It is computed in the precision of `released`, and gradients flow through `mean`, `scale` and `released`.
        """
        import torch

        mean, scale = (
            torch.as_tensor(value, dtype=released.dtype, device=released.device) for value in (self.mean, self.scale)
        )
        distance = (released - mean) / scale
        exponent = distance.abs() if self.family == "laplace" else distance.square() / 2
        return -(exponent + _log_norm(self.family) + scale.log()).flatten(1).sum(1)

    def draw(self, n_releases: int, rng: Generator) -> Tensor:
        """Independent releases of each input, ``(n_releases, M, *shape)`` on the CPU, in the precision of `mean`."""
        import torch

        mean = torch.as_tensor(self.mean).cpu()
        scale = torch.as_tensor(self.scale, dtype=mean.dtype).cpu()
        noise = mean.new_empty(n_releases, *mean.shape)
        if self.family == "gaussian":
            noise.normal_(generator=rng)
        else:
            noise.exponential_(generator=rng).sub_(torch.empty_like(noise).exponential_(generator=rng))
        return noise.mul_(scale).add_(mean)

    def at(self, rows: Any) -> Density:
        """The law for some of the inputs, in the order of these numbers."""
        return replace(self, mean=self.mean[rows], scale=self.scale if self.same_scale else self.scale[rows])

    def reduced(self) -> Density | None:
        """The same law in the few directions in which the means differ, in units of the noise: at most M numbers.

        Gaussian noise of one scale is alike in every direction once elements are divided by their scales. What lies
        outside the directions of the means is then the same for all inputs, and tells nothing. None where the noise is
        another: what tells inputs apart has no fewer numbers there.
        """
        import torch

        if self.family != "gaussian" or not self.same_scale:
            return None
        products: Tensor | float = 0.0
        for _, mean, scale in self._parts(torch.empty(1, 0, *self.mean.shape[1:])):
            apart = (mean - mean.mean(0)) / scale
            products = products + apart @ apart.T
        values, vectors = torch.linalg.eigh(products)
        return replace(self, mean=vectors * values.clamp(min=0).sqrt(), scale=1.0)

    def _parts(self, releases: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """A part of the elements at a time: ``(n_releases, N, d)``, the means ``(M, d)`` and the scales.

        Scales are ``(1, d)`` where they are the same for all inputs, and ``(M, d)`` otherwise.
        """
        import torch

        dtype, device = _accurate(releases), releases.device
        arrived, mean = releases.flatten(2), torch.as_tensor(self.mean).flatten(1)
        scale = torch.as_tensor(self.scale, dtype=dtype, device=device)
        scale = scale.expand((1 if self.same_scale else len(mean), *self.mean.shape[1:])).flatten(1)
        width = max(1, VALUES // (len(releases) * releases.shape[1] + 2 * len(mean)))
        for place in range(0, mean.shape[1], width):
            part = slice(place, place + width)
            yield arrived[..., part].to(dtype), mean[:, part].to(device, dtype), scale[:, part]


def _log_norm(family: str) -> float:
    """Logarithm of what the density of scale 1 is divided by."""
    return math.log(2) if family == "laplace" else math.log(2 * math.pi) / 2


def _accurate(tensor: Tensor) -> Any:
    import torch

    return torch.float32 if tensor.device.type == "mps" else torch.float64
