"""Random numbers for a release, drawn where the smashed data lies.

On the device that is a numpy array, and numpy's generator draws. In torch, in the hands of whoever trains a model or an
attack, a generator of torch draws on the card that holds the tensor: nothing is moved. Its seed is taken from the numpy
generator, so that equal generators give equal releases. Both draw from the same law, not the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def normal(like: Any, rng: np.random.Generator) -> Any:
    """Normal numbers of mean 0 and deviation 1, float32, of the shape and on the device of an array."""
    if isinstance(like, np.ndarray):
        return rng.standard_normal(like.shape, np.float32)
    import torch

    return torch.empty(like.shape, device=like.device).normal_(generator=_generator(like, rng))


def laplace(like: Any, rng: np.random.Generator) -> Any:
    """Laplacian numbers of mean 0 and scale 1: the difference of two exponential ones; see `normal`."""
    if isinstance(like, np.ndarray):
        return rng.standard_exponential(like.shape, np.float32) - rng.standard_exponential(like.shape, np.float32)
    import torch

    first, second = torch.empty((2, *like.shape), device=like.device).exponential_(generator=_generator(like, rng))
    return first - second


def radial(like: Any, rng: np.random.Generator) -> Any:
    """Vectors along the last axis, of the density ``exp(-||z||)`` but for a factor; see `normal`.

    Their direction is uniform, and their length is of a Gamma distribution, whose shape is how many numbers they have.
    """
    directions, width = normal(like, rng), like.shape[-1]
    if isinstance(like, np.ndarray):
        lengths = rng.standard_gamma(width, (*like.shape[:-1], 1), np.float32)
        return directions * (lengths / np.linalg.norm(directions, axis=-1, keepdims=True))
    import torch

    # The sum of so many exponential numbers, which a generator of torch can draw.
    sums = torch.empty(like.shape, device=like.device).exponential_(generator=_generator(like, rng)).sum(-1)
    return directions * (sums / directions.norm(dim=-1))[..., None]


def uniform(like: Any, rng: np.random.Generator) -> Any:
    """Uniform numbers in [0, 1); see `normal`."""
    if isinstance(like, np.ndarray):
        return rng.random(like.shape, np.float32)
    import torch

    return torch.empty(like.shape, device=like.device).uniform_(generator=_generator(like, rng))


def members(like: Any, n: int, rng: np.random.Generator) -> Any:
    """One of the whole numbers from 0 to n - 1 for each sample of an array, ``(N,)``, all equally likely."""
    if isinstance(like, np.ndarray):
        return rng.integers(n, size=len(like))
    import torch

    return torch.randint(n, (len(like),), device=like.device, generator=_generator(like, rng))


@contextmanager
def seeded(rng: np.random.Generator, device: torch.device) -> Iterator[None]:
    """Within it, torch's own generators of the CPU and of a device draw from a seed of `rng`; after it, as before."""
    import torch

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**63)))
        yield


def _generator(like: Any, rng: np.random.Generator) -> torch.Generator:
    import torch

    return torch.Generator(like.device).manual_seed(int(rng.integers(2**63)))
