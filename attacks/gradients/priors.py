"""What an attacker searches: pixels themselves, or parameters of something that makes likely samples.

A prior makes the supposed samples of one update from parameters, ``decode``; a batch axis of problems is added by
`torch.func.vmap`. A search may go through several priors, each of which begins where the one before it ended.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from cutlayer.attacks.gradients.descent import Parameters
from cutlayer.attacks.gradients.scoring import features
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.errors import ConfigError
from cutlayer.nets import skip, wgan
from cutlayer.nets.remembered import remembered

Trial = Callable[[int, Parameters], Tensor]
"""From the number of a row of parameters, and other parameters in its place ``(K, ...)``, to the objective of each."""


class Units(NamedTuple):
    """Standard units of samples, measured on the attacker's own: of each channel of images, of all columns of tables.

    Attributes:
        mean: Shape that broadcasts over ``(B, *input.shape)``.
        std: Likewise.
        low: The least value that a sample can have.
        high: The greatest.
    """

    mean: Tensor
    std: Tensor
    low: float
    high: float

    @classmethod
    def of(cls, view: UpdateView) -> Units:
        """The units of a view's auxiliary samples."""
        own = torch.from_numpy(view.auxiliary.inputs).to(view.device)
        axes = (0, 2, 3) if own.ndim == 4 else tuple(range(own.ndim))
        std, mean = torch.std_mean(own, axes, keepdim=True, correction=0)
        low = 0.0 if view.input.low is None else view.input.low
        high = 1.0 if view.input.high is None else view.input.high
        return cls(mean, std.clamp(min=1e-3), low, high)

    def standard(self, x: Tensor) -> Tensor:
        """Samples in standard units."""
        return (x - self.mean) / self.std


class Prior(ABC):
    """Makes supposed samples of parameters."""

    fixed: frozenset[str] = frozenset()
    """Names of parameters that are not searched."""

    @abstractmethod
    def begin(self, before: Parameters, random: torch.Generator) -> Parameters:
        """The first parameters of one problem.

        Args:
            before: What the search of the prior before this one has found; empty for the first.
            random: Source of every draw.
        """

    @abstractmethod
    def decode(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """``(B, *input.shape)`` of the parameters of one problem; it is pure, and can be differentiated."""

    def project(self, parameters: Parameters) -> None:  # noqa: B027 - without bounds there is nothing to do
        """Bring parameters, ``(P, ...)`` each, back into their bounds, in place."""

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """How unlikely the parameters of one problem are by themselves, a scalar."""
        return next(iter(parameters.values())).new_zeros(())

    def read(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The samples that the parameters of one problem come to at the end: those that they are decoded to."""
        return self.decode(parameters)

    def rearrange(self, parameters: Parameters, random: Sequence[torch.Generator], trial: Trial) -> None:  # noqa: B027
        """Jump to better parameters, which no small step leads to, in place; called after each step.

        Args:
            parameters: ``(P, ...)`` each.
            random: Source of the draws of each problem.
            trial: The objective of other parameters of one problem.
        """


class Pixels(Prior):
    """The samples themselves.

    Args:
        shape: ``(B, *input.shape)``.
        units: Units of the parameters, where they are standard ones, and the bounds.
        standard: Whether the parameters are in standard units; otherwise they are in those of the samples.
        box: Whether each step stays within the bounds.
        denoise: Steps between two median filters, 0 for none, and the step after which there are no more.
    """

    def __init__(
        self, shape: tuple[int, ...], units: Units, *, standard: bool, box: bool, denoise: tuple[int, int] = (0, 0)
    ) -> None:
        self._shape, self._units, self._standard, self._box = shape, units, standard, box
        self._every, self._until = denoise
        self._step = 0

    def begin(self, before: Parameters, random: torch.Generator) -> Parameters:
        """Normal noise."""
        return {"pixels": torch.randn(self._shape, generator=random).to(self._units.mean)}

    def decode(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The parameters in the units of samples."""
        x = parameters["pixels"]
        return self._units.mean + self._units.std * x if self._standard else x

    def project(self, parameters: Parameters) -> None:
        """Clip to the bounds, and filter after some of the steps."""
        self._step += 1
        if self._every and self._step % self._every == 0 and self._step <= self._until:
            parameters["pixels"] = median(parameters["pixels"])
        if self._box:
            x, units = parameters["pixels"], self._units
            low, high = torch.as_tensor(units.low).to(x), torch.as_tensor(units.high).to(x)
            if self._standard:
                low, high = units.standard(low), units.standard(high)
            parameters["pixels"] = x.clamp(low, high)


class Table(Prior):
    """Rows of a table, whose words are shares of their flags, and whose numbers stay within those of other rows.

    Args:
        batch: Number of rows.
        rows: ``(N, columns)``: other rows, from which the flags of each word, and the bounds of numbers, are found.
    """

    def __init__(self, batch: int, rows: Tensor) -> None:
        if rows.ndim != 2:
            raise ConfigError("The prior table searches rows of a table, and the samples are of another kind.")
        self._batch, self._of = batch, features(rows.cpu().numpy())
        widest = max(part.stop - part.start for part in self._of)
        # Each feature with its columns, filled up to the widest with a column of no weight, the last.
        self._columns = torch.full((len(self._of), widest), rows.shape[1], device=rows.device)
        self._places = torch.empty(rows.shape[1], dtype=torch.int64, device=rows.device)
        for k, part in enumerate(self._of):
            size = part.stop - part.start
            self._columns[k, :size] = torch.arange(part.start, part.stop)
            self._places[part] = torch.arange(size, device=rows.device) + k * widest
        self._is_number = torch.tensor([part.stop - part.start == 1 for part in self._of], device=rows.device)
        self._is_number = self._is_number.repeat_interleave(
            torch.tensor([part.stop - part.start for part in self._of], device=rows.device)
        )
        self._low, self._high = rows.min(0).values, rows.max(0).values

    def begin(self, before: Parameters, random: torch.Generator) -> Parameters:
        """Uniform noise."""
        drawn = torch.rand(self._batch, len(self._places), generator=random)
        return {"table": (drawn * 2 - 1).to(self._low)}

    def decode(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The softmax over the flags of each word, and the sigmoid of each number within its bounds."""
        x = parameters["table"]
        padded = functional.pad(x, (0, 1), value=-torch.inf)
        words = padded[..., self._columns].softmax(-1).flatten(-2)[..., self._places]
        return torch.where(self._is_number, self._low + (self._high - self._low) * x.sigmoid(), words)

    def hard(self, rows: Tensor) -> Tensor:
        """The rows ``(..., columns)``, of whose words the greatest flag is 1 and the others 0."""
        found = rows.clone()
        for part in self._of:
            if part.stop - part.start > 1:
                chosen = rows[..., part].argmax(-1, keepdim=True)
                found[..., part] = torch.zeros_like(rows[..., part]).scatter_(-1, chosen, 1.0)
        return found


def median(images: Tensor) -> Tensor:
    """The median of each pixel and its eight neighbors, ``(..., H, W)``."""
    padded = functional.pad(images.flatten(0, -4), (1, 1, 1, 1), mode="replicate")
    around = padded.unfold(-2, 3, 1).unfold(-2, 3, 1).flatten(-2)
    return around.median(-1).values.view_as(images)


class Network(Prior):
    """The weights of an untrained network with skip connections, whose pictures are smooth (Ulyanov et al., CVPR 2018).

    The images of one update have one network, and a fixed random input each.

    Args:
        batch: Number of images.
        image: ``(C, H, W)``.
        widths: See `cutlayer.nets.skip`.
        device: Where to compute.
    """

    fixed = frozenset({"z"})

    def __init__(self, batch: int, image: tuple[int, ...], widths: Sequence[int], device: torch.device) -> None:
        self._batch, self._image, self._widths, self._device = batch, image, tuple(widths), device
        self._network = skip.skip(image, self._widths).to(device)

    def begin(self, before: Parameters, random: torch.Generator) -> Parameters:
        """New weights, and random inputs."""
        seed = int(torch.randint(2**31, (), generator=random))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = dict(skip.skip(self._image, self._widths).named_parameters())
        z = torch.randn(self._batch, skip.INPUTS, *self._image[1:], generator=random)
        return {name: value.detach().to(self._device) for name, value in (weights | {"z": z}).items()}

    def decode(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The pictures of the network."""
        weights = {name: value for name, value in parameters.items() if name != "z"}
        images: Tensor = functional_call(self._network, weights, (parameters["z"],))
        return images


class Latent(Prior):
    """The latent vectors of a generator.

    Args:
        generator: ``(B, latent)`` -> ``(B, *image)``.
        batch: Number of images.
        latent: Length of a latent vector.
    """

    def __init__(self, generator: nn.Sequential, batch: int, latent: int) -> None:
        self._generator, self._size = generator, (batch, latent)

    def begin(self, before: Parameters, random: torch.Generator) -> Parameters:
        """Draws of the normal prior."""
        return {"z": torch.randn(self._size, generator=random).to(next(self._generator.parameters()))}

    def decode(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The images of the generator."""
        images: Tensor = self._generator(parameters["z"])
        return images

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The KL divergence of a normal distribution with the mean and variance of the vectors from the prior (GGL)."""
        z = parameters["z"]
        variance = z.var(correction=0) + 1e-12
        return (z.mean().square() + variance - variance.log() - 1) / 2


class GeneratorWeights(Prior):
    """The weights of a generator, at the latent vectors that were found before; each update has a copy (GIAS).

    Args:
        generator: See `Latent`.
    """

    fixed = frozenset({"z"})

    def __init__(self, generator: nn.Sequential) -> None:
        self._generator = generator

    def begin(self, before: Parameters, random: torch.Generator) -> Parameters:
        """The trained weights, and the latent vectors of the search before."""
        weights = {name: value.detach().clone() for name, value in self._generator.named_parameters()}
        return {"z": before["z"], **weights}

    def decode(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The images of the generator with these weights."""
        weights = {name: value for name, value in parameters.items() if name != "z"}
        images: Tensor = functional_call(self._generator, weights, (parameters["z"],))
        return images


class Features(Prior):
    """What a layer of a generator passes on, near to what the search before has found (GIFD).

    Args:
        before: The layers between the parameters of the search before and these.
        after: The layers from here to the image.
        radius: How far the features may be from where they begin, as the mean absolute difference.
    """

    def __init__(self, before: Sequence[nn.Module], after: Sequence[nn.Module], radius: float) -> None:
        self._before, self._after, self._radius = nn.Sequential(*before), nn.Sequential(*after), radius

    fixed = frozenset({"origin"})

    def begin(self, before: Parameters, random: torch.Generator) -> Parameters:
        """The features of what the search before has found."""
        found = before["features"] if "features" in before else before["z"]
        with torch.no_grad():
            features = self._before(found)
        return {"features": features, "origin": features.clone()}

    def decode(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The images that the remaining layers make."""
        images: Tensor = self._after(parameters["features"])
        return images

    def project(self, parameters: Parameters) -> None:
        """Go back into the L1 ball around the beginning."""
        gap = (parameters["features"] - parameters["origin"]).flatten(1)
        inside = in_ball(gap, self._radius * gap.shape[1])
        parameters["features"] = parameters["origin"] + inside.view_as(parameters["features"])


def in_ball(x: Tensor, radius: float) -> Tensor:
    """The nearest point with an L1 norm of at most `radius`, row by row of ``(P, n)``.

    J. Duchi, S. Shalev-Shwartz, Y. Singer, T. Chandra, "Efficient Projections onto the l1-Ball for Learning in High
    Dimensions", ICML 2008, figure 1.
    """
    size = x.abs()
    ordered = size.sort(dim=1, descending=True).values
    excess = (ordered.cumsum(1) - radius) / torch.arange(1, x.shape[1] + 1, device=x.device)
    last = (ordered > excess).sum(1, keepdim=True) - 1
    threshold = excess.gather(1, last.clamp(min=0)).clamp(min=0)
    return x.sign() * (size - threshold).clamp(min=0)


def trained_generator(view: UpdateView, latent: int, width: int, steps: int) -> nn.Sequential:
    """A generator of images like the attacker's own, see `cutlayer.nets.wgan`; the last few are remembered."""
    image = view.input.shape
    images = torch.from_numpy(view.auxiliary.inputs).to(view.device)

    def train() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)
            networks = wgan.generator(latent, width, image), wgan.critic(width, image)
        for network in networks:
            network.to(view.device)
        wgan.fit(networks, images, latent, steps, view.seed)
        return networks[0].eval().requires_grad_(False)

    settings = "generator of updates", latent, width, steps, view.seed, view.device
    found = remembered(settings, (images,), train)
    assert isinstance(found, nn.Sequential)
    return found
