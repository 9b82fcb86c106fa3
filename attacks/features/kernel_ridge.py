"""Kernel ridge regression on random features: an inversion in closed form that is not linear.

    phi(z) = cos(Wz + b)  or  relu(Wz + b),      x = A [z, phi(z)],      A by ridge regression

(Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", NeurIPS 2007, for the Gaussian kernel with the
cosine; Cho and Saul, "Kernel Methods for Deep Learning", NeurIPS 2009, for the arc-cosine kernel with the ReLU.) The
principal components z of the smashed data stand beside their random features, so `pca-ridge` is contained: where
held-out images say that the features do not help, they are left out. A head of convolutions treats all places alike,
and then one map from a window of the smashed data to the pixels below its middle learns from every place of every
image: with the same images it has hundreds of times as many examples. Whether to look at the whole or through windows,
which kernel and which bandwidth is chosen by the error on held-out images.

Threat model: that of `ridge`, the attacker queries the device's head and defense with its own images.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import fold, pad, unfold

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.pca_ridge import Components, halvings
from cutlayer.attacks.features.ridge import CHUNK, HELD_OUT, solve
from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.nets.grid import Fit, Grid
from cutlayer.options import Size, Weight, Whole
from cutlayer.progress import track

KERNELS = ("gaussian", "arc-cosine")
WIDEST = 8192
"""Values of a window, at most; through larger windows the attack does not look."""
_IMAGES = 64
"""Images whose windows are cut at a time; bounds the memory."""


@dataclass(kw_only=True)
class KernelRidge(Attack):
    """Invert by ridge regression on principal components and random features of them, whole or window by window.

    Args:
        components: Principal components, at most.
        features: Random features.
        kernel: Kernels that are tried: ``gaussian``, ``arc-cosine``.
        bandwidth: Tried as well: the width of the Gaussian in typical distances between two points, or the spread of
            the thresholds of the ReLU in typical lengths.
        window: Places along each side of a window, tried in turn; 0 for the smashed data as a whole. Windows are for
            smashed data with an image's layout, a vector has none.
        rows: Windows that the map learns from, at most.
        n_auxiliary: Images used; 0 for all that the attacker has.
    """

    plain_words = "a formula with random features, fitted on the attacker's own pictures"
    rebuilds = ("image",)
    needs = Access.BLACK_BOX

    components: Size = 1024
    features: Size = 1024
    kernel: tuple[str, ...] = KERNELS
    bandwidth: tuple[Weight, ...] = (0.3, 1.0)
    window: tuple[Whole, ...] = (0, 1, 3, 5)
    rows: Whole = 40_000
    n_auxiliary: Whole = 0

    def __post_init__(self) -> None:
        if unknown := set(self.kernel) - set(KERNELS):
            raise ConfigError(f"kernel-ridge.kernel must be of {', '.join(KERNELS)}, not {min(unknown)!r}.")
        if even := [width for width in self.window if width and width % 2 == 0]:
            raise ConfigError(f"kernel-ridge.window must be 0 or odd, so that a window has a middle, not {even[0]}.")
        self.kernel, self.bandwidth = tuple(self.kernel), tuple(self.bandwidth)  # TOML writes lists
        self.window = tuple(self.window)

    def fit(self, view: View) -> None:
        """Query with the auxiliary images; choose the windows by the linear map, then what is added to it."""
        device = torch.device("cpu") if view.device.type == "mps" else view.device  # mps has no float64
        images, n_fit = with_held_out(view, self.n_auxiliary, HELD_OUT)
        smashed, images = release(view.query, images, device), images.to(device)
        generator = torch.Generator().manual_seed(view.seed)
        fitted = []
        for width in track(self.window, "choosing the windows"):
            windows = Windows(view.smashed.shape, view.input.shape, width)
            if windows.possible:
                examples = windows.examples(smashed, images, n_fit, self.rows, generator)
                fitted.append((windows, examples, Map.linear(*examples, self.components, view.seed)))
        if not fitted:
            raise ConfigError(
                f"kernel-ridge cannot look at {view.smashed} through windows of {max(self.window)}: add 0, the whole, "
                "to window."
            )
        self._windows, examples, self._map = min(fitted, key=lambda entry: entry[2].error)
        del fitted
        linear = self._map
        for kernel, bandwidth in track(list(itertools.product(self.kernel, self.bandwidth)), "choosing the kernel"):
            tried = linear.with_features(*examples, kernel, bandwidth, self.features, generator)
            if tried.error < self._map.error:
                self._map = tried

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        parts = torch.split(smashed.to(self._map.mean), _IMAGES)
        return torch.cat([self._windows.assembled(self._map, part) for part in parts]).clamp(0, 1).to(smashed)


class Windows:
    """The smashed data and the image as rows of numbers, one for each place: a window, and the pixels below its middle.

    Args:
        smashed: Shape of the smashed data of one image.
        image: Shape of one image.
        width: Places along each side of a window; 0 for one row that holds everything.
    """

    def __init__(self, smashed: tuple[int, ...], image: tuple[int, ...], width: int) -> None:
        self._width, self._image, grid = width, image, Grid(smashed, image)
        self._block = 2**grid.doublings
        self._start = math.ceil(image[1] / self._block), math.ceil(image[2] / self._block)
        self._grid, self._fit = grid, Fit(*self._start)
        self._padded = self._start[0] * self._block, self._start[1] * self._block
        self.possible = width == 0 or (grid.layout != "vector" and grid.channels * width**2 <= WIDEST)
        """Whether smashed data of this shape has such windows, and they are not too wide."""

    def rows(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, places, values)``."""
        if not self._width:
            return smashed.flatten(1)[:, None]
        return unfold(self._fit(self._grid(smashed)), self._width, padding=self._width // 2).mT

    def blocks(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> ``(N, places, pixels)``."""
        if not self._width:
            return images.flatten(1)[:, None]
        below, right = self._padded[0] - self._image[1], self._padded[1] - self._image[2]
        return unfold(pad(images, (0, right, 0, below)), self._block, stride=self._block).mT

    def assembled(self, map: "Map", smashed: Tensor) -> Tensor:
        """The images ``(N, C, H, W)`` that a map makes of ``(N, *smashed.shape)``."""
        rows = self.rows(smashed)
        blocks = map(rows.flatten(0, 1)).reshape(*rows.shape[:2], -1)
        if not self._width:
            return blocks.reshape(-1, *self._image)
        padded = fold(blocks.mT, self._padded, self._block, stride=self._block)
        return padded[..., : self._image[1], : self._image[2]]

    def examples(
        self, smashed: Tensor, images: Tensor, n_fit: int, most: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, int]:
        """Rows ``(n, values)``, pixels ``(n, pixels)``, and how many of the rows are of the first `n_fit` images.

        From each image come equally many places, drawn at random from those that lie in the image as a whole, and no
        more than `most` in all.
        """
        inside = torch.nonzero(self.blocks(torch.ones_like(images[:1]))[0].amin(dim=1) == 1)[:, 0].cpu()
        each = min(len(inside), max(1, most // len(images)))
        rows, pixels = list[Tensor](), list[Tensor]()
        for part, truth in zip(torch.split(smashed, _IMAGES), torch.split(images, _IMAGES), strict=True):
            order = torch.rand(len(part), len(inside), generator=generator).argsort(dim=1)[:, :each]
            chosen = inside[order].to(part.device)[..., None]
            for found, source in ((rows, self.rows(part)), (pixels, self.blocks(truth))):
                found.append(source.gather(1, chosen.expand(-1, -1, source.shape[2])).flatten(0, 1))
        return torch.cat(rows), torch.cat(pixels), n_fit * each


@dataclass
class Map:
    """A map from rows to pixels that is linear in the components of a row and in random features of them.

    Attributes:
        components: The principal components of the rows.
        used: Number of components that are used.
        mean: ``(pixels,)``, what is predicted from a row that is the mean of all.
        weights: ``(used + features, pixels)``.
        error: Mean squared error on held-out rows.
        features: What is added to the components, from ``(n, used)``; None for nothing.
    """

    components: Components
    used: int
    mean: Tensor
    weights: Tensor
    error: float
    features: "RandomFeatures | None" = None

    @classmethod
    def linear(cls, rows: Tensor, pixels: Tensor, n_fit: int, most: int, seed: int) -> "Map":
        """The map without features, of at most so many components."""
        components, mean = Components(rows[:n_fit], most, seed), pixels[:n_fit].mean(dim=0)
        scores, best = components.scores(rows), None
        for used in halvings(scores.shape[1]):
            weights, error = solve(scores[:, :used], pixels - mean, n_fit)
            if best is None or error < best.error:
                best = cls(components, used, mean, weights, error)
        assert best is not None, "the first number of components is never below 1"
        return best

    def with_features(
        self,
        rows: Tensor,
        pixels: Tensor,
        n_fit: int,
        kernel: str,
        bandwidth: float,
        n: int,
        generator: torch.Generator,
    ) -> "Map":
        """The map that has random features beside the same components."""
        scores = self.components.scores(rows)[:, : self.used]
        features = RandomFeatures(scores[:n_fit], kernel, bandwidth, n, generator)
        weights, error = solve(torch.cat([scores, features(scores)], dim=1), pixels - self.mean, n_fit)
        return Map(self.components, self.used, self.mean, weights, error, features)

    def __call__(self, rows: Tensor) -> Tensor:
        """``(n, values)`` -> ``(n, pixels)``."""
        out = []
        for part in torch.split(rows, CHUNK):
            scores = self.components.scores(part)[:, : self.used]
            if self.features is not None:
                scores = torch.cat([scores, self.features(scores)], dim=1)
            out.append(self.mean + scores @ self.weights)
        return torch.cat(out)


class RandomFeatures:
    """Random features of points, whose inner products approximate a kernel; all together they vary as the points do.

    Args:
        points: ``(n, D)``, the points from which the typical length is taken.
        kernel: One of `KERNELS`.
        bandwidth: See `KernelRidge`.
        n: Number of features.
        generator: Source of randomness.
    """

    def __init__(self, points: Tensor, kernel: str, bandwidth: float, n: int, generator: torch.Generator) -> None:
        variance = points.var(dim=0).sum().clamp(min=1e-12)
        directions = torch.randn(points.shape[1], n, generator=generator).to(points)
        if kernel == "gaussian":  # two points are typically sqrt(2 variance) apart
            self._directions = directions / (bandwidth * (2 * variance).sqrt()).clamp(min=1e-12)
            self._offset = 2 * math.pi * torch.rand(n, generator=generator).to(points)
            self._function: Callable[[Tensor], Tensor] = torch.cos
        else:
            self._directions = directions / variance.sqrt()
            self._offset = bandwidth * torch.randn(n, generator=generator).to(points)
            self._function = torch.relu
        self._center, self._scale = torch.zeros((), device=points.device), torch.ones((), device=points.device)
        raw = self(points)
        self._center, spread = raw.mean(dim=0), raw.var(dim=0).sum().clamp(min=1e-12)
        self._scale = (variance / spread).sqrt()

    def __call__(self, points: Tensor) -> Tensor:
        """``(n, D)`` -> ``(n, features)``."""
        return (self._function(points @ self._directions + self._offset) - self._center) * self._scale
