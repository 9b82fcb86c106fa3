"""The attacker's material before the victims' data arrives: its own images, and what the server receives for them."""

import numpy as np
import torch
from torch import Tensor

from cutlayer.attacks.view import Query, View
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError

HELD_OUT = 0.1
"""Share of the images that an attack does not learn from, by which it chooses among epochs and settings."""
SURE = 3.0
"""Standard errors by which an attack must do better on held-out images than a weaker one that it contains."""
LEAST = 2
"""Images from which on an attack can learn from some and choose by the others."""
CHUNK = 256
"""Images pushed through the query at a time; bounds the memory of the device's head."""


def auxiliary_images(view: View, limit: int = 0) -> Tensor:
    """The attacker's own images, ``(N, C, H, W)`` on the CPU, in an order that does not depend on their labels.

    Args:
        view: View whose auxiliary set is used.
        limit: Number of images at most; 0 for all.
    """
    return torch.from_numpy(_shuffled(view, limit).inputs)


def with_held_out(view: View, limit: int, n: float) -> tuple[Tensor, int]:
    """The same images, those by which an attack chooses its settings last, and the number of those before them.

    Where the images have groups, none that is held out comes from the same photograph, or shows the same person, as one
    that is not: the victims' images do not either.

    Args:
        view: View whose auxiliary set is used.
        limit: Number of images at most; 0 for all.
        n: Images to hold out: a number, or a share below 1 of all. There are more where a group is larger.

    Raises:
        ConfigError: There are fewer than `LEAST` images.
    """
    own = _several(view, limit)
    held_out = own.held_out(max(1, int(n * len(own) if n < 1 else min(n, len(own) // 2))))
    return torch.from_numpy(own.at(np.argsort(held_out, kind="stable")).inputs), int((~held_out).sum())


def apart(view: View) -> tuple[View, Tensor]:
    """The view without a share of the images, and those images, on which the errors of other attacks are measured.

    They are those that `with_held_out` puts last with `HELD_OUT` of all images. Equal calls give the same view, so that
    what is fitted to it is fitted once.
    """

    def make() -> tuple[View, Tensor]:
        own = _several(view, 0)
        held_out = own.held_out(max(1, int(HELD_OUT * len(own))))
        return view.with_auxiliary(own.at(np.flatnonzero(~held_out))), torch.from_numpy(own.inputs[held_out])

    return view.kept("apart", make)


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return as many other images, made of these: mirrored, patched together, mixed, of other brightness and contrast.

    A head at a shallow cut looks at small parts of an image, and its inversion is learned from parts as well. So an
    attacker who may query is not limited to the images that it holds. Half of the images are at most mirrored.

    Args:
        images: ``(N, C, H, W)`` in [0, 1], on the CPU.
        generator: Source of every random choice.

    Returns:
        ``(N, C, H, W)`` in [0, 1], in the same order as the images they begin from.
    """

    def chance(share: float) -> Tensor:
        return (torch.rand(n, generator=generator) < share).view(-1, 1, 1, 1)

    def between(low: float, high: float) -> Tensor:
        return torch.empty(n, 1, 1, 1).uniform_(low, high, generator=generator)

    n, height, width = len(images), *images.shape[2:]
    images = torch.where(chance(0.5), images.flip(-1), images)
    others = images[torch.randperm(n, generator=generator)]
    rows, columns = (torch.arange(side).view(shape) / side for side, shape in ((height, (-1, 1)), (width, (1, -1))))
    top, left = between(-0.5, 1), between(-0.5, 1)
    patch = (rows >= top) & (rows < top + 0.5) & (columns >= left) & (columns < left + 0.5)
    share = torch.where(chance(0.5), patch.float(), between(0, 0.5))
    mixed = torch.lerp(images, others, share)
    mean = mixed.mean((1, 2, 3), keepdim=True)
    mixed = ((mixed - mean) * between(0.6, 1.4) + mean + between(-0.1, 0.1)).clamp(0, 1)
    return torch.where(chance(0.5), mixed, images)


def _shuffled(view: View, limit: int) -> Dataset:
    order = torch.randperm(len(view.auxiliary), generator=torch.Generator().manual_seed(view.seed))
    return view.auxiliary.at(order[: limit or len(order)].numpy())


def _several(view: View, limit: int) -> Dataset:
    own = _shuffled(view, limit)
    if len(own) < LEAST:
        raise ConfigError(
            f"The attacker learns from {len(own)} image{'s'[: len(own) != 1]} of its own, and this attack needs at "
            f"least {LEAST}; give the attackers more auxiliary images, or the attack more of them (n_auxiliary)."
        )
    return own


def release(query: Query, images: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """What arrives at the server for each image, ``(N, *smashed.shape)`` on `device`; fresh noise at each call."""
    out: Tensor | None = None
    for start in range(0, len(images), CHUNK):
        smashed = query(images[start : start + CHUNK].to(device))
        if out is None:
            out = torch.empty((len(images), *smashed.shape[1:]), device=device)
        out[start : start + CHUNK] = smashed
    if out is None:
        raise ValueError("The attacker has no images to query with.")
    return out


def releases(view: View, images: Tensor, n: int) -> Tensor:
    """What arrives for each image in n releases, ``(n, N, *smashed.shape)`` on the attacker's device."""
    return torch.stack([release(view.query, images, view.device) for _ in range(n)])


def squared_errors(rebuilt: Tensor, images: Tensor) -> Tensor:
    """The mean squared error of each of N images, ``(N,)``, or of each for K attacks, ``(K, N)``."""
    return (rebuilt - images).square().flatten(rebuilt.ndim - images.ndim + 1).mean(-1)


def surely_less(errors: Tensor, than: Tensor) -> bool:
    """Whether errors of the same images, ``(N,)`` each, are less by more than `SURE` standard errors."""
    gained = than - errors
    return len(gained) > 1 and float(gained.mean()) > SURE * float(gained.std()) / len(gained) ** 0.5
