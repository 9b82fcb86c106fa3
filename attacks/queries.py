"""The attacker's material before the victims' data arrives: its own images, and what the server receives for them."""

import torch
from torch import Tensor

from cutlayer.attacks.view import Query, View

CHUNK = 256
"""Images pushed through the query at a time; bounds the memory of the device's head."""


def auxiliary_images(view: View, limit: int = 0) -> Tensor:
    """The attacker's own images, ``(N, C, H, W)`` on the CPU, in an order that does not depend on their labels.

    Args:
        view: View whose auxiliary set is used.
        limit: Number of images at most; 0 for all.
    """
    images = torch.from_numpy(view.auxiliary.inputs)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(view.seed))
    return images[order[: limit or len(images)]]


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
