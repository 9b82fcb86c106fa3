"""The attacker's material before the victims' data arrives: its own images, and what the server receives for them."""

import numpy as np
import torch
from torch import Tensor

from cutlayer.attacks.view import Query, View
from cutlayer.data.splits import Dataset

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
    """
    own = _shuffled(view, limit)
    held_out = own.held_out(max(1, int(n * len(own) if n < 1 else min(n, len(own) // 2))))
    return torch.from_numpy(own.at(np.argsort(held_out, kind="stable")).inputs), int((~held_out).sum())


def _shuffled(view: View, limit: int) -> Dataset:
    order = torch.randperm(len(view.auxiliary), generator=torch.Generator().manual_seed(view.seed))
    return view.auxiliary.at(order[: limit or len(order)].numpy())


def release(query: Query, images: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """What arrives at the server for each image, ``(N, *smashed.shape)`` on `device`; fresh noise at each call."""
    out: Tensor | None = None
    for start in range(0, len(images), CHUNK):
        smashed = query(images[start : start + CHUNK])
        if out is None:
            out = torch.empty((len(images), *smashed.shape[1:]), device=device)
        out[start : start + CHUNK] = smashed
    if out is None:
        raise ValueError("The attacker has no images to query with.")
    return out
